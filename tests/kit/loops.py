"""An event loop for a test of a client library, which ends no sooner than its connections."""

import asyncio
import selectors

from kit.guards import GUARD_SECONDS, until_async


def run(coroutine):
    """Run *coroutine* on an event loop of its own, and return its result.

    A connection by TLS that a client closes stays open until the server has closed it too, and
    not every client waits for that. ``asyncio.run()`` would end the loop before, and the garbage
    collector would warn of the connection in a later test. Here, the loop ends after its
    connections, and a connection that stays open is a failure.
    """
    selector = selectors.DefaultSelector()

    async def connected():
        try:
            async with asyncio.timeout(GUARD_SECONDS):
                return await coroutine
        finally:
            await until_async(lambda: len(selector.get_map()) == idle, "the end of a connection")

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.get_loop()
        idle = len(selector.get_map())  # the loop's own socket, by which threads wake it
        return runner.run(connected())
