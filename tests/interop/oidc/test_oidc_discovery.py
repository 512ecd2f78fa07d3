"""The endpoints of oidc-provider, found by its issuer."""

from kit.crowds import at_once

from tokenkeeper import GenericOAuth2Provider, OAuth2Config
from tokenkeeper.cli.discovered import discover
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.oauth.well_known import well_known_urls

THREADS = 24


def test_the_issuer_is_enough(server, make_keeper):
    """A client that knows only the issuer of the server gets tokens that its API accepts."""
    config = OAuth2Config("api", "worker", "worker-secret", issuer=server.issuer, scope="read")
    keeper = make_keeper(GenericOAuth2Provider(config))
    tokens = at_once(*[lambda: keeper.get_token("api")] * THREADS)
    assert len(set(tokens)) == 1
    assert server.call(tokens[0])[0] == 200


def test_what_the_server_publishes(server):
    """The server has the same endpoints by RFC 8414 and by OpenID Connect Discovery."""
    for place in well_known_urls(server.issuer):
        document = server.http.request("GET", place).json()
        assert document["issuer"] == server.issuer
        assert document["token_endpoint"] == server.token_endpoint
    assert discover(f"{server.issuer}/", SYSTEM_CLOCK, timeout=30).issuer == server.issuer
