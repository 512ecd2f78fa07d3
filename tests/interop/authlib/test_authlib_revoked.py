"""Tokens that Authlib's server revokes without notice: one renewal, and the call succeeds."""

import threading

import anyio.to_thread
import pytest
import requests

from tokenkeeper import TokenAcquisitionError

CROWD = 50


@pytest.fixture
def revoked(server, make_keeper, make_provider, watch):
    """Return a keeper, and its token, which was revoked without notice."""
    server.add_client("client", delay_seconds=0.2)
    keeper = make_keeper(make_provider("api", "client"))
    token = keeper.get_token("api")
    server.revoke_access_tokens("client")
    watch.revoked.add(token)
    return keeper, token


def assert_one_renewal(server, token, results):
    (renewed,) = set(results)
    assert renewed != token
    assert server.call(renewed)[0] == 200
    assert server.stats("client")["token_requests"] == 2


def test_threads_that_are_refused_at_once(kit, server, revoked):
    """Fifty threads that are rejected at the same time cause one renewal."""
    keeper, token = revoked
    refused = threading.Barrier(CROWD)

    def work():
        mine = keeper.get_token("api")
        status, said = server.call(mine)
        assert (status, said["error"]) == (401, "invalid_token")
        refused.wait(kit.GUARD_SECONDS)
        return keeper.renew_refused("api", mine)

    assert_one_renewal(server, token, kit.at_once(*[work] * CROWD))


def test_threads_that_are_refused_one_after_the_other(kit, server, revoked):
    """Threads that are rejected after the renewal get its token."""
    keeper, token = revoked
    first = keeper.renew_refused("api", token)
    late = kit.at_once(*[lambda: keeper.renew_refused("api", token)] * CROWD)
    assert_one_renewal(server, token, [first, *late])
    assert keeper.get_token("api") == first


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_that_are_refused_at_once(kit, server, revoked, backend):
    """Fifty tasks that are rejected at the same time cause one renewal."""
    keeper, token = revoked
    manager = kit.WatchedManager(keeper)

    async def work():
        mine = await manager.get_token("api")
        status, _ = await anyio.to_thread.run_sync(server.call, mine)
        assert status == 401
        return await manager.renew_refused("api", mine)

    assert_one_renewal(server, token, kit.tasks_at_once(backend, CROWD, work))


def test_both_kinds_at_once(kit, server, revoked):
    """Threads and the tasks of two event loops share one renewal."""
    keeper, token = revoked
    manager = kit.WatchedManager(keeper)

    def loop(backend):
        return kit.tasks_at_once(backend, CROWD, lambda: manager.renew_refused("api", token))

    threads = [lambda: [keeper.renew_refused("api", token)]] * CROWD
    loops = [lambda: loop("asyncio"), lambda: loop("trio")]
    results = kit.at_once(*threads, *loops)
    assert_one_renewal(server, token, [token for result in results for token in result])


def test_a_token_given_back_by_the_client(server, make_keeper, make_provider, watch):
    """A token that the client revoked (RFC 7009) is inactive (RFC 7662), and is renewed."""
    keeper = make_keeper(make_provider())
    token = keeper.get_token("api")

    def post(endpoint, token):
        auth = ("worker", server.clients["worker"])
        url = f"{server.issuer}/oauth/{endpoint}"
        answer = requests.post(url, data={"token": token}, auth=auth, timeout=30)
        assert answer.status_code == 200
        return answer.json()

    assert post("introspect", token)["active"] is True
    post("revoke", token)
    watch.revoked.add(token)
    assert post("introspect", token) == {"active": False}
    assert server.call(token)[0] == 401
    renewed = keeper.renew_refused("api", token)
    assert post("introspect", renewed)["active"] is True
    assert keeper.get_token("api") == renewed


def test_revoked_again_and_again(kit, server, make_keeper, make_provider, watch):
    """Each revocation costs one renewal for all callers; a few in a row cause no pause."""
    keeper = make_keeper(make_provider())
    for round_ in range(3):
        token = keeper.get_token("api")
        server.revoke_access_tokens("worker")
        watch.revoked.add(token)
        results = kit.at_once(*[lambda t=token: keeper.renew_refused("api", t)] * 16)
        assert len(set(results)) == 1
        assert server.stats("worker")["token_requests"] == round_ + 2


def test_a_revoked_token_at_a_server_that_grants_none(server, make_keeper, make_provider, watch):
    """A rejected token is not handed out again, even if the server grants no other."""
    server.add_client("client", "before")
    keeper = make_keeper(make_provider("api", "client"))
    token = keeper.get_token("api")
    server.revoke_access_tokens("client")
    server.add_client("client", "after")
    watch.revoked.add(token)
    for _ in range(3):
        with pytest.raises(TokenAcquisitionError, match="invalid_client"):
            keeper.renew_refused("api", token)
        with pytest.raises(TokenAcquisitionError, match="invalid_client"):
            keeper.get_token("api")
    assert server.stats("client")["token_requests"] == 2
