"""Many callers of every kind at oidc-provider: one request, also after a token was revoked."""

import threading

import anyio.to_thread
import pytest
from kit import internals


@pytest.fixture
def client_id(server, request):
    """Register a client with slow answers, and return its name."""
    client_id = request.node.name
    server.add_client(client_id, delay_seconds=0.2)
    return client_id


def test_a_cold_crowd(kit, server, client_id, make_keeper, make_provider):
    """64 threads, and 100 tasks on each of two event loops, cause one request together."""
    keeper = make_keeper(make_provider("api", client_id))
    manager = kit.WatchedManager(keeper)

    def loop(backend):
        return kit.tasks_at_once(backend, 100, lambda: manager.get_token("api"))

    threads = [lambda: [keeper.get_token("api")]] * 64
    results = kit.at_once(*threads, lambda: loop("asyncio"), lambda: loop("trio"))
    assert len({token for result in results for token in result}) == 1
    assert server.stats(client_id)["token_requests"] == 1


def test_a_crowd_that_insists(kit, server, client_id, make_keeper, make_provider):
    """``force_refresh`` by many callers at once never has two requests in flight."""
    keeper = make_keeper(make_provider("api", client_id))
    before = keeper.get_token("api")
    tokens = kit.at_once(*[lambda: keeper.get_token("api", force_refresh=True)] * 16)
    assert before not in tokens
    stats = server.stats(client_id)
    assert stats["most_at_once"] == 1
    assert stats["token_requests"] == len({before, *tokens})


@pytest.mark.parametrize("resource", [None, "https://invoices.example.com/"])
def test_a_revoked_token(kit, server, client_id, make_keeper, make_provider, watch, resource):
    """All callers that the API rejects at once cause one renewal, and succeed with its token."""
    parameters = {"resource": resource} if resource else None
    config = {"additional_params": parameters}
    keeper = make_keeper(make_provider("api", client_id, config=config))
    manager = kit.WatchedManager(keeper)
    token = keeper.get_token("api")
    server.revoke(token)
    watch.revoked.add(token)
    refused = threading.Barrier(32)

    def thread():
        assert server.call(token)[0] == 401
        refused.wait(kit.GUARD_SECONDS)
        return [keeper.renew_refused("api", token)]

    async def task():
        status, _ = await anyio.to_thread.run_sync(server.call, token)
        assert status == 401
        return await manager.renew_refused("api", token)

    def loop(backend):
        return kit.tasks_at_once(backend, 32, task)

    results = kit.at_once(*[thread] * 32, lambda: loop("asyncio"), lambda: loop("trio"))
    (renewed,) = {token for result in results for token in result}
    assert server.call(renewed)[0] == 200
    assert keeper.get_token("api") == renewed
    assert server.stats(client_id)["token_requests"] == 2


def test_forked_children(kit, server, client_id, make_keeper, make_provider, watch):
    """Each child keeps the token that it inherited, and requests the next one itself."""
    keeper = make_keeper(make_provider("api", client_id))
    token = keeper.get_token("api")

    def live():
        return [internals.cached(keeper).access_token, keeper.get_token("api", force_refresh=True)]

    reports = [child.result() for child in [kit.Child(live) for _ in range(4)]]
    assert [report[0] for report in reports] == [token] * 4
    renewed = {report[1] for report in reports}
    assert len(renewed) == 4
    assert all(server.call(each)[0] == 200 for each in renewed)
    assert server.stats(client_id)["token_requests"] == 5
