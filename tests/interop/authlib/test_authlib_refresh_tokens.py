"""One-time refresh tokens of Authlib's server: rotation, and the cost of a lost one."""

from datetime import UTC, datetime, timedelta

import pytest
import requests
from kit import internals
from kit.servers.authlib_on_flask import AuthlibOnFlask

from tokenkeeper import (
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    OAuth2Token,
    TokenAcquisitionError,
)

BOTH = ["client_credentials", "refresh_token"]


@pytest.fixture
def rotating(server, make_keeper, make_provider):
    """Return a keeper with a client that gets a refresh token with each token."""
    server.add_client("client", refresh_tokens=True, grant_types=BOTH, delay_seconds=0.02)
    return make_keeper(
        make_provider("api", "client", config={"scope": "read write"}, refresh_tokens=True)
    )


def test_many_renewals_in_a_row(server, rotating):
    """Each renewal uses the refresh token of the previous one."""
    tokens = [rotating.get_token("api")]
    tokens += [rotating.get_token("api", force_refresh=True) for _ in range(50)]
    assert len(set(tokens)) == 51
    stats = server.stats("client")
    assert stats["grants_by_client_credentials"] == 1
    assert stats["grants_by_refresh_token"] == 50
    assert stats["families_revoked"] == 0
    assert server.call(tokens[-1])[1]["grant_type"] == "refresh_token"


def test_a_crowd_that_insists(kit, server, rotating):
    """Threads and tasks that force renewals at once never use a refresh token twice."""
    rotating.get_token("api")
    manager = kit.WatchedManager(rotating)

    async def task():
        return await manager.get_token("api", force_refresh=True)

    def thread():
        return [rotating.get_token("api", force_refresh=True) for _ in range(5)]

    loops = [lambda b=b: kit.tasks_at_once(b, 20, task) for b in ("asyncio", "trio")]
    results = kit.at_once(*[thread] * 16, *loops)
    tokens = {token for result in results for token in result}
    stats = server.stats("client")
    assert stats["families_revoked"] == 0
    assert stats["most_at_once"] == 1
    assert stats["grants_by_client_credentials"] == 1
    assert stats["grants_by_refresh_token"] == len(tokens) == stats["token_requests"] - 1


def test_refresh_all_by_many(kit, server, make_keeper, make_provider):
    """``refresh_all`` from many threads renews each client by rotation, and revokes no family."""
    names = [f"client-{number}" for number in range(5)]
    for name in names:
        server.add_client(name, refresh_tokens=True, grant_types=BOTH)
    keeper = make_keeper(*(make_provider(name, name, refresh_tokens=True) for name in names))
    for name in names:
        keeper.get_token(name)
    reports = kit.at_once(*[keeper.refresh_all] * 8)
    assert reports == [dict.fromkeys(names, True)] * 8
    for name in names:
        keeper.get_token(name)
        assert server.stats(name)["families_revoked"] == 0
        assert server.stats(name)["grants_by_client_credentials"] == 1


def test_a_revoked_access_token(kit, server, rotating, watch):
    """Fifty callers with a rejected token spend one refresh token."""
    token = rotating.get_token("api")
    server.revoke_access_tokens("client")
    watch.revoked.add(token)
    renewed = kit.at_once(*[lambda: rotating.renew_refused("api", token)] * 50)
    assert len(set(renewed)) == 1
    assert server.stats("client")["grants_by_refresh_token"] == 1
    assert server.stats("client")["token_requests"] == 2


def test_a_refresh_token_that_died(kit, server, rotating):
    """A revoked refresh token is replaced by one new grant for all callers."""
    rotating.get_token("api")
    server.revoke_refresh_tokens("client")
    tokens = kit.at_once(*[lambda: rotating.get_token("api", force_refresh=True)] * 16)
    assert all(isinstance(token, str) for token in tokens)
    stats = server.stats("client")
    assert stats["grants_by_client_credentials"] == 2
    refreshed = stats["grants_by_refresh_token"]
    rotating.get_token("api", force_refresh=True)
    assert server.stats("client")["grants_by_refresh_token"] == refreshed + 1


def test_a_refresh_token_that_somebody_else_used(server, rotating, watch):
    """A second use of a refresh token revokes the family, and a new grant replaces it."""
    token = rotating.get_token("api")
    stolen = internals.cached(rotating).token.refresh_token
    form = {"grant_type": "refresh_token", "refresh_token": stolen}
    auth = ("client", server.clients["client"])
    theirs = requests.post(server.token_endpoint, form, auth=auth, timeout=30).json()
    assert server.call(theirs["access_token"])[0] == 200
    ours = rotating.get_token("api", force_refresh=True)
    assert server.stats("client")["families_revoked"] == 1
    for revoked in (token, theirs["access_token"]):
        assert server.call(revoked)[0] == 401
    assert server.call(ours)[0] == 200


@pytest.mark.parametrize("asked", ["read delete", "delete read write", None])
def test_a_scope_that_was_narrowed(server, make_keeper, make_provider, asked):
    """A renewal requests the granted scope; the server would refuse the wider one (§6)."""
    server.add_client("client", refresh_tokens=True, grant_types=BOTH)
    keeper = make_keeper(
        make_provider("api", "client", config={"scope": asked}, refresh_tokens=True)
    )
    keeper.get_token("api")
    granted = keeper.get_cached_token_info("api")["scope"]
    for _ in range(3):
        token = keeper.get_token("api", force_refresh=True)
        assert keeper.get_cached_token_info("api")["scope"] == granted
        assert server.call(token)[1]["scope"] == granted
    assert server.stats("client")["grants_by_refresh_token"] == 3


def test_by_default_they_are_ignored(server, make_keeper, make_provider):
    """By default a provider renews by client credentials, and keeps no refresh token."""
    server.add_client("client", refresh_tokens=True, grant_types=BOTH)
    keeper = make_keeper(make_provider("api", "client"))
    keeper.get_token("api")
    assert internals.cached(keeper).token.refresh_token is None
    keeper.get_token("api", force_refresh=True)
    stats = server.stats("client")
    assert (stats["grants_by_client_credentials"], stats["grants_by_refresh_token"]) == (2, 0)


def test_a_cleared_token(server, rotating):
    """A cleared token's refresh token is forgotten: the next token is a new grant."""
    rotating.get_token("api")
    rotating.clear_token("api")
    rotating.get_token("api")
    assert server.stats("client")["grants_by_client_credentials"] == 2
    assert server.stats("client")["grants_by_refresh_token"] == 0


@pytest.mark.parametrize(
    ("why", "registration"),
    [
        ("unauthorized_client", {}),
        ("invalid_request", {"grant_types": BOTH, "has_user": False}),
    ],
)
def test_a_refresh_token_that_the_server_does_not_take(
    server, make_keeper, make_provider, why, registration
):
    """If the server refuses its own refresh tokens, client credentials are used."""
    server.add_client("client", refresh_tokens=True, **registration)
    keeper = make_keeper(make_provider("api", "client", refresh_tokens=True))
    before = keeper.get_token("api")
    after = keeper.get_token("api", force_refresh=True)
    assert after != before
    assert server.stats("client")["grants_by_client_credentials"] == 2


def test_a_server_without_the_refresh_grant(kit):
    """The same if the server doesn't support the grant at all (``unsupported_grant_type``)."""
    with AuthlibOnFlask(without=["refresh_token"]) as server:
        server.add_client("client", refresh_tokens=True, grant_types=BOTH)
        with kit.WatchedKeeper(kit.Watch(server)) as keeper:
            config = server.config("api", "client")
            keeper.add_provider(GenericOAuth2Provider(config, refresh_tokens=True))
            before = keeper.get_token("api")
            assert keeper.get_token("api", force_refresh=True) != before
            keeper.watch.assert_flawless()


class UserProvider(BaseOAuth2Provider):
    """A custom provider as an application may write it: a user's tokens by the password grant."""

    def __init__(self, server, name, client_id, password):
        super().__init__(name)
        self.url = server.token_endpoint
        self.auth = (client_id, server.clients[client_id])
        self.password = password

    def acquire_token(self):
        return self._log_in()

    def refresh_token(self, token):
        return self._renew(token)

    def _log_in(self):
        return self._ask(grant_type="password", username="alice", password=self.password)

    def _renew(self, token):
        try:
            return self._ask(grant_type="refresh_token", refresh_token=token.refresh_token)
        except TokenAcquisitionError as refused:
            if refused.error != "invalid_grant":
                raise
        return self._log_in()

    def _ask(self, **form):
        sent = datetime.now(UTC)
        answer = requests.post(self.url, form, auth=self.auth, timeout=30)
        said = answer.json()
        if "error" in said:
            raise TokenAcquisitionError(
                f"no token: {said['error']}", error=said["error"], status_code=answer.status_code
            )
        ends = sent + timedelta(seconds=said["expires_in"])
        return OAuth2Token(
            said["access_token"], said["token_type"], ends, said["scope"], said["refresh_token"]
        )


class AsyncUserProvider(UserProvider):
    """The same in ``async def``."""

    async def acquire_token(self):
        return self._log_in()

    async def refresh_token(self, token):
        return self._renew(token)


@pytest.mark.parametrize("kind", [UserProvider, AsyncUserProvider])
def test_a_provider_of_ones_own(kit, server, make_keeper, kind):
    """A custom provider needs no lock: no two renewals use the same refresh token."""
    server.add_client("client", refresh_tokens=True, grant_types=["password", "refresh_token"])
    keeper = make_keeper(kind(server, "alice", "client", "alice-password"))
    assert server.call(keeper.get_token("alice"))[1]["user"] == "alice"

    def work():
        return [keeper.get_token("alice", force_refresh=True) for _ in range(5)]

    tokens = {token for result in kit.at_once(*[work] * 16) for token in result}
    stats = server.stats("client")
    assert stats["families_revoked"] == 0
    assert stats["grants_by_password"] == 1
    assert stats["grants_by_refresh_token"] == len(tokens)
    server.revoke_refresh_tokens("client")
    assert server.call(keeper.get_token("alice", force_refresh=True))[1]["user"] == "alice"
    assert server.stats("client")["grants_by_password"] == 2


def test_a_wrong_password(kit, server, make_keeper):
    """All callers get the provider's error, with its name, after one request."""
    server.add_client("client", grant_types=["password"], delay_seconds=0.1)
    keeper = make_keeper(UserProvider(server, "alice", "client", "not-hers"))
    errors = kit.at_once(*[lambda: keeper.get_token("alice")] * 16)
    assert {(error.error, error.provider_name) for error in errors} == {
        ("invalid_request", "alice")
    }
    assert not any("not-hers" in repr(error) for error in errors)
    assert server.stats("client")["token_requests"] == 1
