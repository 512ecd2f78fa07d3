"""websockets against a server that asks the authorization server about each token."""

import asyncio
import threading

import pytest
from kit.cookbook import example
from kit.guards import GUARD_SECONDS
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.sync.server import serve

CROWD = 12


class Echo:
    """A server that repeats one message, and then closes the connection.

    :ivar tokens: the tokens that were presented, in order.
    """

    def __init__(self, is_alive):
        self._is_alive = is_alive
        self.tokens = []
        self._server = serve(self._repeat, "127.0.0.1", 0, process_request=self._check)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _check(self, connection, request):
        self.tokens.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if not self._is_alive(self.tokens[-1]):
            return connection.respond(401, "Unauthorized\n")
        return None

    def _repeat(self, connection):
        connection.send(connection.recv())

    def stop(self):
        self._server.shutdown()
        self._thread.join(GUARD_SECONDS)


@pytest.fixture
def echo(server):
    echo = Echo(server.is_alive)
    yield echo
    echo.stop()


def test_a_crowd_of_tasks_recovers_with_one_renewal(
    server, echo, source, crowd_of_tasks, requests_of
):
    """Tasks that connect after a revocation recover with one renewal."""
    authenticated = example("websockets").Authenticated

    async def say():
        async with authenticated(echo.url, source, proxy=None) as socket:
            await socket.send("hello")
            return await socket.recv()

    async def use():
        assert await crowd_of_tasks(CROWD, say) == ["hello"] * CROWD
        server.revoke_all()
        return await crowd_of_tasks(CROWD, say)

    assert asyncio.run(use()) == ["hello"] * CROWD
    assert requests_of() == 2


def test_a_crowd_of_threads_recovers_with_one_renewal(server, echo, source, crowd, requests_of):
    """Threads that connect after a revocation recover with one renewal."""
    authenticated = example("websockets_sync").authenticated

    def say():
        with authenticated(echo.url, source, proxy=None) as socket:
            socket.send("hello")
            return socket.recv()

    assert crowd(CROWD, say) == ["hello"] * CROWD
    server.revoke_all()
    assert crowd(CROWD, say) == ["hello"] * CROWD
    assert requests_of() == 2


def test_the_iterator_connects_again_with_the_current_token(server, echo, source, requests_of):
    """Each connection of ``async for`` has the current token, and a rejected one is renewed."""
    authenticated = example("websockets").Authenticated

    async def use():
        heard = 0
        async for socket in authenticated(echo.url, source, proxy=None):
            await socket.send("hello")
            heard += await socket.recv() == "hello"
            if heard == 1:
                await source.aio.get_token(force_refresh=True)
            if heard == 2:
                server.revoke_all()
            if heard == 3:
                return
            await socket.wait_closed()

    asyncio.run(use())
    assert requests_of() == 3
    assert len(set(echo.tokens)) == 3


def test_headers_of_the_library_are_fixed(server, echo, source):
    """``additional_headers`` stay as they were, so the library's own iterator ends with a 401."""

    async def use():
        headers = source.headers("GET", echo.url)
        async for socket in connect(echo.url, additional_headers=headers, proxy=None):
            server.revoke_all()
            await source.aio.get_token(force_refresh=True)
            await socket.close()

    with pytest.raises(InvalidStatus, match="401"):
        asyncio.run(use())


@pytest.mark.parametrize("example", ["websockets", "websockets_sync"])
def test_the_example(echo, run_example, example):
    """The programs of the page print the message that they sent."""
    assert run_example(example, WEBSOCKET_URL=echo.url) == "hello\n"
