"""Whether callers notice renewals: short-lived tokens from a slow token endpoint."""

import math
import threading
import time

import anyio
from played import PlayedServer, is_dead
from report import Section, Table, short

from tokenkeeper import OAuth2TokenManager, TokenKeeper
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.schedule import deadlines

LIFETIME, TAKES = 4.0, 0.4
THREADS, TASKS = 8, 50


class Reader:
    """Reads for a time, and notes its longest wait, expired tokens and errors."""

    def __init__(self):
        self.reads = self.dead = 0
        self.longest = 0.0
        self.errors = []

    def note(self, began, token):
        now = SYSTEM_CLOCK.monotonic()
        self.reads += 1
        self.longest = max(self.longest, now - began)
        self.dead += is_dead(token, now)

    def in_thread(self, keeper, ends):
        while (began := SYSTEM_CLOCK.monotonic()) < ends:
            try:
                self.note(began, keeper.get_token("api"))
            except Exception as error:  # noqa: BLE001 - any one would be an error
                self.errors.append(error)
            time.sleep(0.002)

    async def in_task(self, manager, ends):
        while (began := SYSTEM_CLOCK.monotonic()) < ends:
            try:
                self.note(began, await manager.get_token("api"))
            except Exception as error:  # noqa: BLE001 - any one would be an error
                self.errors.append(error)
            await anyio.sleep(0.02)


def read_for(keeper, seconds, threads, tasks):
    """Have threads and tasks read from *keeper*; return the readers of both kinds."""
    ends = SYSTEM_CLOCK.monotonic() + seconds
    manager = OAuth2TokenManager(keeper)
    blocking = [Reader() for _ in range(threads)]
    waiting = [Reader() for _ in range(tasks)]

    async def main():
        async with anyio.create_task_group() as group:
            for reader in waiting:
                group.start_soon(reader.in_task, manager, ends)

    crowd = [threading.Thread(target=reader.in_thread, args=(keeper, ends)) for reader in blocking]
    crowd.append(threading.Thread(target=anyio.run, args=(main,)))
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return blocking, waiting


def run(quick):
    seconds = 8.0 if quick else 20.0
    provider = PlayedServer(lifetime=LIFETIME, takes=TAKES)
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        keeper.get_token("api")
        blocking, waiting = read_for(keeper, seconds, THREADS, TASKS)
        requests = len(provider.requests)
    earliest = deadlines(0.0, LIFETIME, provider.buffer_seconds, jitter=1.0).renew_at
    planned = 1 + math.ceil((seconds + TAKES) / earliest)

    table = Table(("readers", "reads", "longest wait", "expired tokens", "errors"))
    for name, readers in (
        (f"{THREADS} threads", blocking),
        (f"{TASKS} asyncio tasks", waiting),
    ):
        table.add(
            name,
            f"{sum(reader.reads for reader in readers):,}",
            short(max(reader.longest for reader in readers)),
            sum(reader.dead for reader in readers),
            sum(len(reader.errors) for reader in readers),
        )
    says = (
        f"Tokens expire {LIFETIME:g} s after the arrival of the request, and the token endpoint "
        f"takes {short(TAKES)}. In {seconds:g} s there were {requests} token requests; the "
        f"schedule plans {planned} at most. Readers pause between reads, 2 ms a thread and 20 ms a "
        "task, so that the GIL is not what is measured. A wait of some milliseconds is a thread "
        "that had to wait for the GIL anyway. The aim is 20 ms."
    )
    section = Section("Short tokens, slow endpoint", says, [table])
    everybody = blocking + waiting
    section.claim(not any(reader.dead for reader in everybody), "an expired token was handed out")
    section.claim(not any(reader.errors for reader in everybody), "a reader saw an error")
    section.claim(requests <= planned, f"{requests} requests, planned were {planned}")
    return section
