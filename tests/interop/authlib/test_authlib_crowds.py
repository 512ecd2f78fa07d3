"""Many callers, forked children and a restarted server: one request each, valid tokens only."""

import os
import socket

import pytest
from kit.servers.authlib_on_flask import AuthlibOnFlask

from tokenkeeper import GenericOAuth2Provider, RetryPolicy, TokenKeeper

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


def test_a_cold_crowd_of_threads(kit, server, make_keeper, make_provider):
    """64 threads that need the first token cause one request."""
    server.add_client("client", delay_seconds=0.2)
    keeper = make_keeper(make_provider("api", "client"))
    tokens = kit.at_once(*[lambda: keeper.get_token("api")] * 64)
    assert len(set(tokens)) == 1
    assert server.stats("client")["token_requests"] == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cold_crowd_of_tasks(kit, server, make_keeper, make_provider, backend):
    """So do 500 tasks."""
    server.add_client("client", delay_seconds=0.2)
    manager = kit.WatchedManager(make_keeper(make_provider("api", "client")))
    tokens = kit.tasks_at_once(backend, 500, lambda: manager.get_token("api"))
    assert len(set(tokens)) == 1
    assert server.stats("client")["token_requests"] == 1


def test_a_crowd_for_many_clients(kit, server, make_keeper, make_provider):
    """Each of ten clients causes one request, and no caller gets another client's token."""
    names = [f"client-{number}" for number in range(10)]
    for name in names:
        server.add_client(name, delay_seconds=0.1)
    keeper = make_keeper(*(make_provider(name, name) for name in names))

    def ask(name):
        return name, server.call(keeper.get_token(name))[1]["client_id"]

    results = kit.at_once(*[lambda name=name: ask(name) for name in names for _ in range(6)])
    assert all(name == owner for name, owner in results)
    assert all(server.stats(name)["token_requests"] == 1 for name in names)


def test_a_crowd_that_insists(kit, server, make_keeper, make_provider):
    """``force_refresh`` by many callers at once never has two requests in flight."""
    server.add_client("client", delay_seconds=0.05)
    keeper = make_keeper(make_provider("api", "client"))
    before = keeper.get_token("api")
    tokens = kit.at_once(*[lambda: keeper.get_token("api", force_refresh=True)] * 32)
    assert before not in tokens
    stats = server.stats("client")
    assert stats["most_at_once"] == 1
    assert stats["token_requests"] == len({before, *tokens})


@needs_fork
def test_forked_children(kit, server, make_provider, watch):
    """Each child keeps the inherited token, and requests missing and forced ones itself."""
    for name in ("warm", "cold"):
        server.add_client(name, delay_seconds=0.05)
    with TokenKeeper() as keeper:
        for name in ("warm", "cold"):
            keeper.add_provider(make_provider(name, name))
        warm = keeper.get_token("warm")

        def live():
            tokens = [keeper.get_token("warm"), keeper.get_token("cold")]
            tokens += kit.at_once(*[lambda: keeper.get_token("cold")] * 8)
            return [*tokens, keeper.get_token("warm", force_refresh=True)]

        reports = [child.result() for child in [kit.Child(live) for _ in range(8)]]
        assert all(report[0] == warm for report in reports)
        assert all(len(set(report[1:-1])) == 1 for report in reports)
        assert len({report[1] for report in reports}) == 8
        assert keeper.get_token("warm") == warm
        handed_out = [warm, keeper.get_token("cold"), *(t for report in reports for t in report)]
    for token in handed_out:
        assert server.call(token)[0] == 200
    assert server.stats("warm")["token_requests"] == 1 + 8
    assert server.stats("cold")["token_requests"] == 1 + 8


@needs_fork
def test_children_forked_in_the_middle_of_a_request(kit, server, make_provider):
    """The request belongs to the parent; each child makes its own."""
    server.add_client("client", delay_seconds=0.3)
    with TokenKeeper() as keeper:
        keeper.add_provider(make_provider("api", "client"))
        children = []

        def fork_meanwhile():
            kit.until(lambda: server.stats("client")["token_requests"], "a request")
            children.extend(kit.Child(lambda: [keeper.get_token("api")]) for _ in range(4))
            return "forked"

        token, _ = kit.at_once(lambda: keeper.get_token("api"), fork_meanwhile)
        tokens = [token, *(child.result()[0] for child in children)]
    assert len(set(tokens)) == 5
    assert all(server.call(token)[0] == 200 for token in tokens)
    assert server.stats("client")["token_requests"] == 5


@pytest.fixture
def port():
    """Return a port that stays reserved while no server listens on it."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_server_that_was_restarted(kit, port):
    """The current token is served while the server is down, and is renewed after a 401."""
    with TokenKeeper() as keeper:
        with AuthlibOnFlask(port=port) as before:
            keeper.add_provider(GenericOAuth2Provider(before.config("api")))
            token = keeper.get_token("api")
            assert before.call(token)[0] == 200
        assert set(kit.at_once(*[lambda: keeper.get_token("api")] * 16)) == {token}
        with AuthlibOnFlask(port=port) as after:
            # It lost all tokens: the API rejects the old one, and one renewal fixes that.
            assert keeper.get_token("api") == token
            assert after.call(token)[0] == 401
            renewed = kit.at_once(*[lambda: keeper.renew_refused("api", token)] * 16)
            assert len(set(renewed)) == 1
            assert after.call(renewed[0])[0] == 200
            assert after.stats("worker")["token_requests"] == 1


def test_a_server_that_comes_back_while_callers_wait(kit, port):
    """Callers that wait for a first token get it when the server is back."""
    retry = RetryPolicy(attempts=10_000, total_seconds=3600, max_wait_seconds=0.5)
    with TokenKeeper(retry=retry) as keeper:  # a server takes its time to start
        with AuthlibOnFlask(port=port) as before:
            keeper.add_provider(GenericOAuth2Provider(before.config("api")))
            keeper.get_token("api")
        keeper.clear_token("api")

        def come_back():
            return AuthlibOnFlask(port=port)

        *tokens, after = kit.at_once(*[lambda: keeper.get_token("api")] * 16, come_back)
        with after:
            assert len(set(tokens)) == 1
            assert after.call(tokens[0])[0] == 200
            assert after.stats("worker")["token_requests"] == 1
