"""The load of the demo: threads and tasks that need a token for each call of an API."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from functools import partial

import requests

from tokenkeeper.cli.demo.asyncio_http import Connection
from tokenkeeper.cli.demo.clients import TIMEOUT_SECONDS, Client
from tokenkeeper.cli.demo.tally import Tally
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import OAuth2Error

__all__ = ["Load"]

CALLS_PER_SECOND = 600.0
"""Of all callers together. On a saturated machine each call is slow, with any client."""

SHORTEST_PAUSE_SECONDS = 0.1

_FAILURES = (OAuth2Error, OSError, EOFError)  # requests' errors and timeouts are OSErrors


class Load:
    """Callers that call an API until they are stopped.

    :param make_client: called once for each caller.
    :param threads: blocking callers, each with a ``requests`` session.
    :param tasks: asyncio callers on one event loop, each with a connection.

    :ivar tallies: one for each caller.
    """

    def __init__(
        self, make_client: Callable[[], Client], api_url: str, *, threads: int, tasks: int
    ) -> None:
        self._api_url = api_url
        self._pause_seconds = max(SHORTEST_PAUSE_SECONDS, (threads + tasks) / CALLS_PER_SECOND)
        self._started = threading.Event()
        self._stopping = threading.Event()
        callers = [(make_client(), Tally()) for _ in range(threads + tasks)]
        self.tallies: list[Tally] = [tally for _, tally in callers]
        self._threads = [
            self._thread(f"caller-{number}", partial(self._call_blocking, *caller))
            for number, caller in enumerate(callers[:threads])
        ]
        if tasks:
            run = partial(asyncio.run, self._call_from_tasks(callers[threads:]))
            self._threads.append(self._thread("caller-loop", run))

    def _thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        # A daemon thread, so that a call that hangs cannot keep the process alive.
        return threading.Thread(target=target, name=name, daemon=True)

    def start(self) -> None:
        """Start all callers at once."""
        for thread in self._threads:
            thread.start()
        self._started.set()

    def stop(self) -> None:
        """Ask each caller to stop after its current call. Does not wait."""
        self._stopping.set()

    def join(self) -> None:
        """Wait for all callers to end."""
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def _next_pause(self) -> float:
        return self._pause_seconds * random.uniform(0.5, 1.5)  # noqa: S311 - it spreads calls

    def _call_blocking(self, client: Client, tally: Tally) -> None:
        now, get_token = SYSTEM_CLOCK.monotonic, client.get_token
        with requests.Session() as session:
            session.trust_env = False  # no proxy and no netrc for a loopback server
            self._started.wait()
            while True:
                began = now()
                try:
                    token = get_token()
                    tally.got_token(now() - began)
                    headers = {"Authorization": f"Bearer {token}"}
                    answer = session.get(self._api_url, headers=headers, timeout=TIMEOUT_SECONDS)
                    tally.answered(answer.status_code)
                except _FAILURES as error:
                    tally.fail(f"{type(error).__name__}: {error}")
                tally.finish_call(now() - began)
                if self._stopping.wait(self._next_pause()):
                    return

    async def _call_from_tasks(self, callers: list[tuple[Client, Tally]]) -> None:
        self._started.wait()
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._call_async(*caller, stop)) for caller in callers]
        while not self._stopping.is_set():
            await asyncio.sleep(SHORTEST_PAUSE_SECONDS)
        stop.set()
        await asyncio.gather(*tasks)

    async def _call_async(self, client: Client, tally: Tally, stop: asyncio.Event) -> None:
        now, get_token = SYSTEM_CLOCK.monotonic, client.get_token_async
        api = Connection(self._api_url)
        while not stop.is_set():
            began = now()
            try:
                token = await get_token()
                tally.got_token(now() - began)
                request = api.request("GET", {"Authorization": f"Bearer {token}"})
                status, _ = await asyncio.wait_for(request, TIMEOUT_SECONDS)
                tally.answered(status)
            except _FAILURES as error:
                api.close()
                tally.fail(f"{type(error).__name__}: {error}")
            tally.finish_call(now() - began)
            await asyncio.sleep(self._next_pause())
        api.close()
