"""Token exchange and JWT bearer at authgent-server, one or two of them."""

import jwt
import pytest
from kit.crowds import at_once
from kit.servers.authgent import Authgent

from tokenkeeper import GenericOAuth2Provider, TokenAcquisitionError, TokenKeeper
from tokenkeeper.oauth.token_types import JWT
from tokenkeeper.providers.grants.jwt_bearer import JwtBearer
from tokenkeeper.providers.grants.token_exchange import TokenExchange

API = "https://api.example.com"
POST = {"token_endpoint_auth_method": "client_secret_post"}


def claims(token):
    return jwt.decode(token, options={"verify_signature": False})


@pytest.fixture
def keeper():
    """Return a keeper with one worker, which is enough for any chain."""
    with TokenKeeper(max_workers=1) as keeper:
        yield keeper


@pytest.fixture
def add(server, keeper):
    """Return a function that registers a client, and a provider for it."""

    def add(name, grant=None, *, at=server, scope="read write", **parameters):
        config = at.register(name, scope=scope, additional_params=parameters or None)
        keeper.add_provider(GenericOAuth2Provider(config, grant=grant, **POST))
        return config

    return add


def test_delegation(keeper, add):
    """The new token is the subject's, and says which client acts; a further one nests that."""
    subject = add("subject")
    first = add("first", TokenExchange(keeper.source("subject")), audience=API)
    second = add("second", TokenExchange(keeper.source("first")), audience=API)
    found = claims(keeper.get_token("second"))
    assert found["sub"] == f"client:{subject.client_id}"
    actors = found["act"]
    assert actors["sub"] == f"client:{second.client_id}"
    assert actors["act"]["sub"] == f"client:{first.client_id}"
    assert found["aud"] == API
    token = keeper.get_oauth2_token("second")
    assert token.extra["issued_token_type"].endswith(":access_token")


def test_the_default_scope(keeper, add):
    """Leaving out the scope asks for that of the client; a source narrows it."""
    add("subject")
    add("api", TokenExchange(keeper.source("subject")), scope="read", audience=API)
    assert claims(keeper.get_token("api"))["scope"] == "read"
    add("wide", TokenExchange(keeper.source("subject")), audience=API)
    assert claims(keeper.source("wide", scope="write")())["scope"] == "write"
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.source("wide", scope="delete")()
    assert not caught.value.transient


def test_a_requested_jwt(keeper, add):
    """A JWT is answered as N_A, and accepted."""
    add("subject")
    grant = TokenExchange(keeper.source("subject"), requested_token_type="jwt")
    add("grant", grant, audience="https://other.example.com")
    token = keeper.get_oauth2_token("grant")
    assert (token.token_type, token.extra["issued_token_type"]) == ("N_A", JWT)
    assert claims(token.access_token)["aud"] == "https://other.example.com"


def test_two_servers(server, keeper, add):
    """A JWT of one server is the assertion for another one, which accepts each once."""
    with Authgent(trust=[server.issuer]) as other:
        subject = add("subject")
        grant = TokenExchange(keeper.source("subject"), requested_token_type="jwt")
        add("grant", grant, audience=other.issuer)
        fresh = keeper.source("grant")
        # Each assertion is accepted once, and the keeper would return the one that it has.
        assertion = JwtBearer(lambda: fresh.get_token(force_refresh=True))
        add("api", assertion, at=other)
        for force in (False, True):
            found = claims(keeper.get_token("api", force_refresh=force))
            assert found["iss"] == other.issuer
            assert found["sub"] == f"client:{subject.client_id}"
        add("naive", JwtBearer(lambda: fresh()), at=other)
        with pytest.raises(TokenAcquisitionError, match="already been consumed"):
            keeper.get_token("naive")


def test_revoked_subjects(server, keeper, add):
    """A revoked subject is a final error of its own, and other subjects are served."""
    config = add("subject")
    add("api", TokenExchange(), audience=API)
    revoked = keeper.get_token("subject")
    server.revoke(config, revoked)
    good = keeper.get_token("subject", force_refresh=True)
    for _ in range(2):
        with pytest.raises(TokenAcquisitionError) as caught:
            keeper.source("api", subject=revoked)()
    assert not caught.value.transient
    assert revoked not in str(caught.value)
    assert claims(keeper.source("api", subject=good)())["sub"] == f"client:{config.client_id}"


def test_a_revoked_link(server, keeper, add):
    """A chain with a revoked link serves its valid token, and is renewed once the link is."""
    config = add("subject")
    add("api", TokenExchange(keeper.source("subject")), audience=API)
    valid = keeper.get_token("api")
    server.revoke(config, keeper.get_token("subject"))
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api", force_refresh=True)
    assert not caught.value.transient
    assert "subject or actor token" in str(caught.value)
    assert keeper.get_token("api") == valid
    keeper.get_token("subject", force_refresh=True)
    assert keeper.get_token("api", force_refresh=True) != valid


def test_many_subjects_at_once(keeper, add):
    """Tokens of many subjects, requested at once, are each the token of its own subject."""
    names = [f"subject-{number}" for number in range(8)]
    owners = {name: f"client:{add(name).client_id}" for name in names}
    add("api", TokenExchange(), audience=API)

    def ask(name):
        found = claims(keeper.source("api", subject=keeper.get_token(name))())
        return found["sub"] == owners[name]

    assert at_once(*[lambda each=name: ask(each) for name in names * 3]) == [True] * 24
