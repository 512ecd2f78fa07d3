"""The callers of the demo: threads and tasks that ask one keeper and call one API."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

import requests

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.cli.demo.tally import Tally
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["PROVIDER_NAME", "Load"]

PROVIDER_NAME = "demo"

CALLS_PER_SECOND = 1200.0
"""Of all callers together. The demo is about tokens; two cores that are busy show nothing."""

LEAST_PACE_SECONDS = 0.1
TIMEOUT_SECONDS = 10.0


class Load:
    """Callers that go on until they are told to stop.

    :param threads: blocking callers, each with a ``requests`` session.
    :param tasks: asyncio callers on one event loop, each with a connection.

    :ivar tallies: one for each caller.
    """

    def __init__(self, keeper: TokenKeeper, api_url: str, *, threads: int, tasks: int) -> None:
        self._keeper = keeper
        self._manager = OAuth2TokenManager(keeper)
        self._api_url = api_url
        self._pace = max(LEAST_PACE_SECONDS, (threads + tasks) / CALLS_PER_SECOND)
        self._go = threading.Event()
        self._stop = threading.Event()
        self.tallies: list[Tally] = [Tally() for _ in range(threads + tasks)]
        self._threads = [
            self._thread(f"caller-{number}", partial(self._call_blocking, tally))
            for number, tally in enumerate(self.tallies[:threads])
        ]
        if tasks:
            call = partial(asyncio.run, self._call_from_tasks(self.tallies[threads:]))
            self._threads.append(self._thread("caller-loop", call))

    def _thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        # A daemon, so that a caller that hangs can't keep the demo from its end.
        return threading.Thread(target=target, name=name, daemon=True)

    def start(self) -> None:
        """Let all callers go at once."""
        for thread in self._threads:
            thread.start()
        self._go.set()

    def stop(self) -> None:
        """Let each caller finish its call, and wait for that."""
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def _pause(self) -> float:
        return self._pace * random.uniform(0.5, 1.5)  # noqa: S311 - it spreads calls

    def _call_blocking(self, tally: Tally) -> None:
        now = SYSTEM_CLOCK.monotonic
        with requests.Session() as session:
            session.trust_env = False  # neither a proxy nor a netrc on the way to loopback
            self._go.wait()
            while True:
                began = now()
                try:
                    token = self._keeper.get_token(PROVIDER_NAME)
                    tally.waited(now() - began)
                    bearer = {"Authorization": f"Bearer {token}"}
                    answer = session.get(self._api_url, headers=bearer, timeout=TIMEOUT_SECONDS)
                    tally.answered(answer.status_code)
                except (OAuth2Error, requests.RequestException) as problem:
                    tally.went_wrong(f"{type(problem).__name__}: {problem}")
                if self._stop.wait(self._pause()):
                    return

    async def _call_from_tasks(self, tallies: list[Tally]) -> None:
        self._go.wait()
        stop = asyncio.Event()
        callers = [asyncio.create_task(self._call_async(each, stop)) for each in tallies]
        while not self._stop.is_set():
            await asyncio.sleep(LEAST_PACE_SECONDS)
        stop.set()
        await asyncio.gather(*callers)

    async def _call_async(self, tally: Tally, stop: asyncio.Event) -> None:
        now = SYSTEM_CLOCK.monotonic
        api = _Api(self._api_url)
        while not stop.is_set():
            began = now()
            try:
                token = await self._manager.get_token(PROVIDER_NAME)
                tally.waited(now() - began)
                tally.answered(await asyncio.wait_for(api.get(token), TIMEOUT_SECONDS))
            except (TimeoutError, OAuth2Error, OSError, EOFError) as problem:
                api.close()
                tally.went_wrong(f"{type(problem).__name__}: {problem}")
            await asyncio.sleep(self._pause())
        api.close()


class _Api:
    """The least HTTP client that asyncio needs: one kept connection, GET, a length."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), parts.port
        self._head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer "
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, token: str) -> int:
        """Return the status of the answer to *token*."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(f"{self._head}{token}\r\n\r\n".encode("ascii"))
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length:")[2].partition("\r\n")[0]
        await reader.readexactly(int(length))
        return int(head.split(" ", 2)[1])

    def close(self) -> None:
        """Close the connection; the next call makes a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
