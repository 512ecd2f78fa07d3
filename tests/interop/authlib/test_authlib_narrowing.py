"""Scopes that are narrowed by a refresh, which Authlib's server does for good (RFC 6749 §6)."""

import pytest
import requests
from kit.crowds import at_once

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.providers.grants.refresh_token import RefreshToken

THREADS = 24


@pytest.fixture
def sign_in(server, make_provider):
    """Return a function that makes a provider with the refresh token of a person."""

    def sign_in(**options):
        server.add_client("app", refresh_tokens=True, grant_types=["password", "refresh_token"])
        form = {"grant_type": "password", "username": "alice", "password": "alice-password"}
        auth = ("app", server.clients["app"])
        answer = requests.post(server.token_endpoint, form, auth=auth, timeout=30).json()
        assert answer["scope"] == "read write"
        grant = RefreshToken(answer["refresh_token"], **options)
        return make_provider("api", "app", config={"scope": None}, grant=grant)

    return sign_in


def refreshes(server):
    return server.stats("app")["grants_by_refresh_token"]


def test_by_default_the_scope_stays(server, make_keeper, sign_in):
    """A source can't narrow the scope, which costs no request; renewals keep the whole scope."""
    keeper = make_keeper(sign_in())
    with pytest.raises(InvalidConfigurationError, match="scope"):
        keeper.source("api", scope="read")
    assert refreshes(server) == 0
    for count in (1, 2, 3):
        token = keeper.get_token("api", force_refresh=True)
        assert server.call(token)[1]["scope"] == "read write"
        assert refreshes(server) == count


def test_a_narrowed_grant_stays_narrow(server, make_keeper, sign_in):
    """After a narrowed token, a wider one is a final error, and the grant goes on as it is."""
    keeper = make_keeper(sign_in(scope_by_refresh=True))
    wide = keeper.get_token("api")
    narrow = keeper.source("api", scope="read")
    assert server.call(narrow())[1]["scope"] == "read"
    assert server.call(wide)[1]["scope"] == "read write"  # as long as it is valid
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.source("api", scope="write")()
    assert (caught.value.error, caught.value.transient) == ("invalid_scope", False)
    assert server.call(narrow.get_token(force_refresh=True))[1]["scope"] == "read"
    assert server.call(keeper.get_token("api", force_refresh=True))[1]["scope"] == "read"
    stats = server.stats("app")
    assert stats["families_revoked"] == 0
    assert refreshes(server) == 4


def test_a_crowd_of_several_scopes(server, make_keeper, sign_in):
    """Threads that ask for two names at once share the grant: no refresh token is used twice."""
    keeper = make_keeper(sign_in(scope_by_refresh=True))
    narrow = keeper.source("api", scope="read")

    def ask(number):
        source = narrow if number % 2 else keeper.source("api")
        return number % 2, [source.get_token(force_refresh=turn == 1) for turn in range(3)]

    results = at_once(*[lambda each=number: ask(each) for number in range(THREADS)])
    scopes = {token: server.call(token)[1]["scope"] for _, tokens in results for token in tokens}
    assert {scopes[token] for is_narrow, tokens in results if is_narrow for token in tokens} == {
        "read"
    }
    stats = server.stats("app")
    assert (stats["families_revoked"], stats["most_at_once"]) == (0, 1)
    assert refreshes(server) == len(scopes) <= THREADS * 3
