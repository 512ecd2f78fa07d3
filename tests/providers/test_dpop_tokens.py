"""Tokens that are bound to a key, from a server that checks every proof."""

import os
import pickle

import pytest
from kit.processes import Child
from kit.servers.dpop import DPoPServer, opened

from tokenkeeper import (
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.oauth.dpop import DPoPKey

ENDLESS = "the server does not accept the nonce that it has just sent"


@pytest.fixture
def server():
    with DPoPServer() as server:
        yield server


@pytest.fixture
def make(server):
    """Return a function that makes providers of the server's tokens."""

    def make(name="api", **options):
        config = OAuth2Config(name, "worker", "hunter2", server.token_url)
        return GenericOAuth2Provider(config, **{"dpop": True, **options})

    return make


def test_a_bound_token(server, make):
    """A token that was requested with a proof is bound to the key of the provider."""
    key = DPoPKey()
    token = make(dpop=key).acquire_token()
    assert token.token_type == "DPoP"
    assert token.dpop_key is key
    assert server.keys[token.access_token] == key.thumbprint
    assert server.log == [("/token", 200)]
    assert key.thumbprint not in repr(token)


def test_a_nonce_of_the_token_endpoint(server, make):
    """A request whose proof lacks the nonce is repeated once at once, and is not a failure."""
    server.grants.change("as")
    provider = make()
    provider.acquire_token()
    assert server.statuses == [400, 200]
    server.grants.each = True
    for _ in range(3):  # the nonce of each response is that of the next request
        provider.acquire_token()
    assert server.statuses[2:] == [200, 200, 200]


def test_a_repeated_request_has_another_client_assertion(server, make):
    """A request that is repeated has another client assertion, as each of those works once."""
    proofs = []

    class Once:
        method = "private_key_jwt"

        def prove(self, client_id, recipient):
            from tokenkeeper.oauth.client_proof import ClientProof

            proofs.append(f"assertion-{len(proofs)}")
            return ClientProof({"client_assertion": proofs[-1]})

    server.grants.change("as")
    config = OAuth2Config("api", "worker", token_url=server.token_url)
    GenericOAuth2Provider(config, client_auth=Once(), dpop=True).acquire_token()
    sent = [dict(each.form)["client_assertion"] for each in server.received]
    assert sent == proofs == ["assertion-0", "assertion-1"]


def test_a_nonce_that_changes_for_ever(server, make):
    """A server that accepts no nonce is asked twice, and the error says what is wrong."""
    server.grants.change("as")
    server.grants.lies = True
    with TokenKeeper() as keeper:
        keeper.add_provider(make())
        with pytest.raises(TokenAcquisitionError, match=ENDLESS) as raised:
            keeper.get_token("api")
    assert server.statuses == [400, 400]
    assert raised.value.error == "use_dpop_nonce"
    assert not raised.value.transient


def test_a_nonce_that_is_not_sent(server, make):
    """A server that demands a nonce and sends none is asked once."""
    server.grants.change("as")
    server.grants.skip = 9
    with pytest.raises(TokenAcquisitionError):
        make().acquire_token()
    assert server.statuses == [400]


@pytest.mark.parametrize("ahead", [-3000, 600])
def test_clocks_differ(server, make, ahead):
    """A proof that was refused for its time is signed again by the server's clock."""
    server.ahead_seconds = ahead
    provider = make(lifetime_seconds=3600)
    provider.acquire_token()
    provider.acquire_token()
    assert server.statuses == [400, 200, 200]


def test_a_wrong_time_and_no_nonce(server, make):
    """A server may refuse a proof for its time and then for want of a nonce, each once."""
    server.ahead_seconds = 600
    server.grants.change("as")
    server.grants.each = True
    server.grants.skip = 1
    make(lifetime_seconds=3600).acquire_token()
    assert server.statuses == [400, 400, 200]


def test_a_proof_that_is_refused_for_another_reason(server, make, monkeypatch):
    """A refused proof that another one would not replace costs one request."""
    monkeypatch.setattr(DPoPKey, "proof", lambda *_, **__: "no-proof")
    with pytest.raises(TokenAcquisitionError, match="rejects the DPoP proof") as raised:
        make().acquire_token()
    assert server.statuses == [400]
    assert raised.value.error == "invalid_dpop_proof"


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "", None, "mac"])
def test_a_downgrade(server, make, token_type):
    """A token that is not bound to the key is refused after one request, for good."""
    server.token_type = token_type
    with TokenKeeper() as keeper:
        keeper.add_provider(make())
        with pytest.raises(TokenAcquisitionError, match="not bound to the key") as raised:
            keeper.get_token("api")
    assert server.statuses == [200]
    assert not raised.value.transient
    assert "token-1" not in str(raised.value)


def test_a_downgrade_that_is_allowed(server, make):
    """With ``allow_bearer``, a bearer token is accepted as such, and a bound one is bound."""
    provider = make(allow_bearer=True)
    assert provider.acquire_token().dpop_key is not None
    server.token_type = "Bearer"
    token = provider.acquire_token()
    assert (token.token_type, token.dpop_key) == ("Bearer", None)


def test_a_bound_token_without_a_proof(server, make):
    """Without a key, a bound token is refused as before: there would be no proof for it."""
    server.proof = lambda *_: ({}, "someone's")
    with pytest.raises(TokenAcquisitionError, match='a token_type other than Bearer, "DPoP"'):
        make(dpop=False).acquire_token()
    token = make(dpop=False, accept_token_types="DPoP").acquire_token()
    assert (token.token_type, token.dpop_key) == ("DPoP", None)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"dpop": "yes"}, "dpop"),
        ({"dpop": None}, "dpop"),
        ({"allow_bearer": 1}, "allow_bearer"),
        ({"dpop": False, "allow_bearer": True}, "allow_bearer"),
    ],
)
def test_options(make, options, field):
    """Options that can't work are refused at once, and the error names the provider."""
    with pytest.raises(InvalidConfigurationError, match=field) as raised:
        make(**options)
    assert (raised.value.provider_name, raised.value.field) == ("api", field)


def test_a_refresh_token_is_used_with_its_key(server, make):
    """A refresh token goes with the key that it is bound to, even if another process made that."""
    mine, theirs = make(refresh_tokens=True), make(refresh_tokens=True)
    token = theirs.acquire_token()
    renewed = mine.refresh_token(token)
    assert renewed.dpop_key == token.dpop_key
    assert server.keys[renewed.access_token] == token.dpop_key.thumbprint
    assert dict(server.received[-1].form)["grant_type"] == "refresh_token"


def test_refresh_tokens_that_work_once(server, make):
    """A new request goes on with the key of the newest refresh token."""
    config = OAuth2Config(
        "api",
        "worker",
        "hunter2",
        server.token_url,
        additional_params={"refresh_token": "refresh-0"},
    )
    theirs = make(refresh_tokens=True).acquire_token()
    provider = GenericOAuth2Provider(config, grant_type="refresh_token", dpop=True)
    renewed = provider.refresh_token(theirs)
    again = provider.acquire_token()
    assert renewed.dpop_key == again.dpop_key == theirs.dpop_key
    assert server.statuses == [200, 200, 200]


def test_variants_share_the_key(server, make):
    """Tokens of one provider for several resources are bound to one key."""
    with TokenKeeper() as keeper:
        keeper.add_provider(make())
        sources = [keeper.source("api", resource=f"https://{name}.example.com") for name in "ab"]
        tokens = {source() for source in sources}
    assert len(tokens) == 2
    assert len(set(server.keys.values())) == 1


def test_a_fork_keeps_the_key(server, make):
    """A forked child goes on with its parent's tokens and key, and its proofs are its own."""
    with TokenKeeper() as keeper:
        keeper.add_provider(make())
        keeper.get_token("api")

        def child():
            headers = keeper.headers("api", "GET", server.api_url)
            keeper.get_token("api", force_refresh=True)
            return headers

        jtis = set()
        for headers in (Child(child).result(), child(), Child(child).result()):
            header, claims = opened(headers["DPoP"])
            jtis.add(claims["jti"])
    assert len(jtis) == 3
    assert len({header["jwk"]["x"] for header, _ in map(opened, _proofs(server))}) == 1
    assert header["jwk"] == opened(_proofs(server)[0])[0]["jwk"]


def _proofs(server):
    return [request.headers["dpop"] for request in server.received]


def test_a_provider_in_another_process(server, make):
    """A provider that is made again elsewhere has the key."""
    provider = make()
    again = pickle.loads(pickle.dumps(provider.for_another_process()))()
    first, second = provider.acquire_token(), again.acquire_token()
    assert first.dpop_key == second.dpop_key


def test_identities(make):
    """In a store, generated keys share tokens, and given keys keep them apart."""
    key = DPoPKey(DPoPKey().exported())
    plain, generated = make(dpop=False).identity(), make().identity()
    assert plain != generated
    assert generated == make().identity()
    assert make(dpop=key).identity()["dpop"] == key.thumbprint
    assert make(dpop=key).identity() != generated
    assert os.linesep not in str(make(dpop=key).identity())


def test_descriptions(make):
    """A description says whether tokens are bound, and shows no key."""
    provider = make()
    assert provider.describe()["dpop"] is True
    assert make(dpop=False).describe()["dpop"] is False
    assert "PRIVATE" not in repr(vars(provider))
