"""The token requests of many callers of one missing token, and the wait of the slowest."""

import statistics
import threading
import time
from functools import partial

import anyio
from played import PlayedServer
from report import Section, Table, short

from tokenkeeper import OAuth2TokenManager, TokenKeeper

TAKES = 0.05


def run(quick):
    rounds = 2 if quick else 7
    table = Table(
        ("callers at once", "token requests", "own threads", "slowest caller", "x the request")
    )
    section = Section("One cold token, many callers", "", [table])
    for name, parties in (
        ("200 threads", {"threads": 200}),
        ("5,000 asyncio tasks", {"asyncio": (5_000,)}),
        ("5,000 trio tasks", {"trio": (5_000,)}),
        (
            "100 threads, 2 asyncio loops and a trio loop of 500 tasks each",
            {"threads": 100, "asyncio": (500, 500), "trio": (500,)},
        ),
    ):
        crowds = [_Crowd(**parties) for _ in range(rounds)]
        requests = max(crowd.requests for crowd in crowds)
        slowest = statistics.median(crowd.slowest for crowd in crowds)
        threads = max(crowd.threads for crowd in crowds)
        table.add(name, requests, threads, short(slowest), f"{slowest / TAKES:.2f}")
        section.claim(requests == 1, f"{name}: {requests} requests for one token")
        section.claim(not any(crowd.failed for crowd in crowds), f"{name}: a caller failed")
    section.says = (
        f"The token endpoint takes {short(TAKES)}; {rounds} rounds, the highest count and the "
        "median of the slowest callers, each timed from its own call. Own threads are those that "
        "the library started: the one that makes the request and the scheduler's, however many "
        "callers wait. The time beyond the request is what CPython takes to run all callers once."
    )
    return section


class _Crowd:
    """One keeper without a token, and callers in one process that need the token at once."""

    def __init__(self, threads=0, asyncio=(), trio=()):
        provider = PlayedServer(takes=TAKES)
        self.failed = []
        self._waits = []
        self._start = threading.Barrier(threads + len(asyncio) + len(trio))
        with TokenKeeper() as keeper:
            keeper.add_provider(provider)
            manager = OAuth2TokenManager(keeper)
            jobs = [partial(self._thread, keeper)] * threads
            jobs += [partial(self._loop, manager, "asyncio", count) for count in asyncio]
            jobs += [partial(self._loop, manager, "trio", count) for count in trio]
            callers = [threading.Thread(target=job) for job in jobs]
            for caller in callers:
                caller.start()
            self.threads = 0
            while any(caller.is_alive() for caller in callers):
                ours = [t for t in threading.enumerate() if t.name.startswith("tokenkeeper")]
                self.threads = max(self.threads, len(ours))
                time.sleep(0.005)
        self.requests = len(provider.requests)
        self.slowest = max(self._waits)

    def _thread(self, keeper):
        self._start.wait()
        began = time.perf_counter()
        try:
            keeper.get_token("api")
        except Exception as error:  # noqa: BLE001 - any one would be an error
            self.failed.append(error)
        self._waits.append(time.perf_counter() - began)

    def _loop(self, manager, backend, count):
        async def ask():
            began = time.perf_counter()
            try:
                await manager.get_token("api")
            except Exception as error:  # noqa: BLE001 - any one would be an error
                self.failed.append(error)
            self._waits.append(time.perf_counter() - began)

        async def main():
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(ask)
                self._start.wait()  # blocks the loop, so that all tasks start together

        anyio.run(main, backend=backend)
