"""The whole way: many callers, a keeper, HTTP and a real authorization server on loopback."""

import operator
import os
import threading
import urllib.request
from urllib.error import HTTPError

import anyio
import pytest

from tokenkeeper import GenericOAuth2Provider, KeeperClosedError, OAuth2TokenManager
from tokenkeeper.testing import LoopbackAuthorizationServer, SteppedClock


@pytest.fixture
def server():
    with LoopbackAuthorizationServer() as server:
        yield server


def call_api(server, token):
    """Call the protected API; return the status."""
    request = urllib.request.Request(
        server.api_url, headers={"Authorization": f"Bearer {token}", "Connection": "close"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status
    except HTTPError as refused:
        with refused:
            return refused.code


def test_a_cold_crowd(kit, make_keeper, server):
    """Threads, asyncio and trio without a token cause one request to the server."""
    server.latency_seconds = 0.2
    keeper = make_keeper(GenericOAuth2Provider(server.config("api")))
    manager = OAuth2TokenManager(keeper)

    def loop(backend):
        async def main():
            tokens = set()

            async def ask():
                tokens.add(await manager.get_token("api"))

            async with anyio.create_task_group() as tasks:
                for _ in range(500):
                    tasks.start_soon(ask)
            return tokens

        return anyio.run(main, backend=backend)

    results = kit.Crowd(
        *[lambda: {keeper.get_token("api")}] * 50,
        *(lambda b=b: loop(b) for b in ("asyncio", "trio")),
    ).join()
    (token,) = results[0]
    assert results == [{token}] * 52
    assert call_api(server, token) == 200
    assert server.stats().token_requests == 1


def test_short_tokens_and_a_slow_server(kit, make_keeper):
    """The API rejects no call while tokens of two seconds are renewed again and again."""
    clock, done = SteppedClock(), threading.Event()
    calls = [0] * 8

    def work(number):
        answers = set()
        while not done.is_set():
            for _ in range(100):
                token = keeper.get_token("api")
            answers.add(call_api(server, token))
            calls[number] += 1
        return answers

    def let_time_pass():
        """Let a tenth of a second pass, at most once during each call."""
        before = list(calls)
        kit.until(lambda: all(map(operator.gt, calls, before)), "a call of each worker")
        clock.step(0.1)

    with LoopbackAuthorizationServer(
        clock=clock, lifetime_seconds=2.0, latency_seconds=0.2
    ) as server:
        keeper = make_keeper(GenericOAuth2Provider(server.config("api"), clock=clock), clock=clock)
        keeper.get_token("api")
        crowd = kit.Crowd(*(lambda number=number: work(number) for number in range(8)))
        try:
            kit.until(
                lambda: let_time_pass() or server.stats().tokens_granted >= 4, "a third renewal"
            )
        finally:
            done.set()
        assert crowd.join() == [{200}] * 8
        stats = server.stats()
    assert stats.api_refusals == 0
    assert stats.max_concurrent_token_requests == 1


@pytest.mark.parametrize("mode", ["503", "reset", "stall"])
def test_an_outage_that_nobody_notices(kit, make_keeper, mode):
    """During an outage the current token is served, and it is renewed afterwards."""
    clock = SteppedClock()
    with LoopbackAuthorizationServer(clock=clock) as server:
        keeper = make_keeper(GenericOAuth2Provider(server.config("api"), clock=clock), clock=clock)
        token = keeper.get_token("api")
        server.go_down(mode)
        clock.step(3400.0)
        kit.until(lambda: server.stats().token_requests > 1)
        assert kit.crowd(50, lambda: keeper.get_token("api")).join() == [token] * 50
        assert call_api(server, token) == 200
        server.come_back()

        def renewed():
            clock.step(0.5)
            return server.stats().tokens_granted == 2

        kit.until(renewed, "a renewal after the outage")
        assert server.stats().api_refusals == 0


def test_a_crowd_that_is_refused_at_once(kit, make_keeper, server):
    """A token that is revoked while fifty workers use it costs one renewal."""
    keeper = make_keeper(GenericOAuth2Provider(server.config("api")))
    revoked = keeper.get_token("api")
    server.revoke_all()

    def work():
        token = keeper.get_token("api")
        if call_api(server, token) == 401:
            token = keeper.renew_refused("api", token)
        return token, call_api(server, token)

    results = set(kit.crowd(50, work).join())
    assert len(results) == 1
    token, status = results.pop()
    assert token != revoked
    assert status == 200
    assert server.stats().token_requests == 2


def test_a_server_that_stalls_holds_up_no_other(kit, make_keeper, server):
    """Neither another server's tokens nor close() wait for a server that hangs."""
    with LoopbackAuthorizationServer() as stalled:
        stalled.go_down("stall")
        keeper = make_keeper(
            GenericOAuth2Provider(server.config("healthy")),
            GenericOAuth2Provider(stalled.config("stalled")),
        )
        waiting = kit.crowd(10, lambda: keeper.get_token("stalled"))
        kit.until(lambda: stalled.stats().token_requests == 1)
        for _ in range(3):
            assert keeper.get_token("healthy", force_refresh=True)
        keeper.close()
        assert {type(error) for error in waiting.join()} == {KeeperClosedError}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_children_forked_in_the_middle_of_a_request(kit, make_keeper, server):
    """Each child has its inherited token, and sends requests over its own connections."""
    keeper = make_keeper(
        GenericOAuth2Provider(server.config("warm")), GenericOAuth2Provider(server.config("cold"))
    )
    token = keeper.get_token("warm")
    server.go_down("stall")
    waiting = kit.crowd(4, lambda: keeper.get_token("cold"))
    kit.until(lambda: server.stats().token_requests == 2)

    def work():
        assert keeper.get_token("warm") == token
        forced = {keeper.get_token("warm", force_refresh=True) for _ in range(3)}
        return [keeper.get_token("cold"), *forced]

    # The stall ends for earlier requests; the children ask the server as it is from now on.
    children = [kit.Child(work) for _ in range(8)]
    server.come_back()
    reports = [child.result() for child in children]
    tokens = [token for report in reports for token in report]
    assert len(set(tokens)) == 8 * 4
    assert all(call_api(server, token) == 200 for token in tokens)
    assert len(set(waiting.join())) == 1
    assert keeper.get_token("warm") == token
    assert call_api(server, keeper.get_token("warm", force_refresh=True)) == 200
