"""Chains: the token of one server is what the next one grants a token for."""

import pytest
from kit.servers.exchange import TYPES, TokenService, claims_in, token_of

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenKeeper
from tokenkeeper.oauth.client_assertions import ClientAssertion
from tokenkeeper.oauth.github_actions import GitHubActionsToken
from tokenkeeper.providers.grants.jwt_bearer import JwtBearer
from tokenkeeper.providers.grants.token_exchange import TokenExchange


@pytest.fixture
def keeper():
    """Return a keeper with one worker, which is enough for any chain."""
    with TokenKeeper(max_workers=1) as keeper:
        yield keeper


def test_from_github_to_a_cloud(service, keeper, monkeypatch):
    """A job's own token is exchanged for a token of a cloud, with no secret anywhere."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{service.origin}/github?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "token-of-the-job")
    grant = TokenExchange(GitHubActionsToken("sts.cloud.example"), subject_token_type="jwt")
    keeper.add_provider(service.provider("cloud", grant))
    assert claims_in(keeper.get_token("cloud"))["sub"] == "repo:acme/app"
    asked, exchanged = service.received
    assert asked.bearer == "token-of-the-job"
    assert claims_in(dict(exchanged.form)["subject_token"])["aud"] == "sts.cloud.example"


def test_an_identity_assertion(service, keeper):
    """ID-JAG: the identity provider grants a JWT for a user, which another server accepts."""
    with TokenService() as resources:
        identity = TokenExchange(subject_token_type="id_token", requested_token_type="id_jag")
        keeper.add_provider(service.provider("identity", identity))
        user = keeper.source("identity", subject=token_of("ann"), audience=resources.origin)
        keeper.add_provider(resources.provider("api", JwtBearer(user)))
        assert claims_in(keeper.get_token("api"))["sub"] == "ann"
        (form,) = service.forms()
        assert form["requested_token_type"] == [TYPES + "id-jag"]
        assert form["audience"] == [resources.origin]
        (presented,) = resources.forms()
        assert claims_in(presented["assertion"][0])["aud"] == [resources.origin]


def test_a_workload(service, keeper, tmp_path):
    """SPIFFE: the JWT-SVID in a file authenticates the client, and is read for each request."""
    svid = tmp_path / "svid.jwt"
    config = OAuth2Config("api", "spiffe://acme/app", token_url=f"{service.origin}/token")
    grant = TokenExchange(svid, subject_token_type="jwt")
    provider = GenericOAuth2Provider(config, client_auth=ClientAssertion(svid), grant=grant)
    keeper.add_provider(provider)
    for force, sub in ((False, "spiffe://acme/app/1"), (True, "spiffe://acme/app/2")):
        svid.write_text(token_of(sub))
        assert claims_in(keeper.get_token("api", force_refresh=force))["sub"] == sub
        assert service.forms()[-1]["client_assertion"] == [token_of(sub)]


def test_three_links(service, keeper):
    """Each link of a chain is cached on its own: the last one is renewed with one request."""
    keeper.add_provider(service.provider("first"))
    keeper.add_provider(service.provider("second", TokenExchange(keeper.source("first"))))
    keeper.add_provider(service.provider("third", TokenExchange(keeper.source("second"))))
    assert claims_in(keeper.get_token("third"))["sub"] == "client"
    assert len(service.received) == 3
    keeper.get_token("third", force_refresh=True)
    assert len(service.received) == 4


def test_an_outage_of_the_first_link(service, keeper):
    """While the first server is down, the valid token of the last one is served."""
    with TokenService() as first:
        keeper.add_provider(first.provider("first"))
        keeper.add_provider(service.provider("api", TokenExchange(keeper.source("first"))))
        token = keeper.get_token("api")
        first.stop()
        assert keeper.get_token("api") == token
        assert len(service.received) == 1
