"""Two hundred random faults in a row, with tokens of a few seconds."""

import random
import threading
import time

import anyio
from kit import internals
from kit.servers import fault_proxy as faults

from tokenkeeper import OAuth2TokenManager, RetryPolicy, TokenAcquisitionError

SEED = 1749
FAULTS = 200
LIFETIME = 4.0
MARGIN = LIFETIME / 20  # the least remaining lifetime of a token that is handed out
POLICY = RetryPolicy(
    attempts=3, initial_wait_seconds=0.02, max_wait_seconds=0.05, background_wait_seconds=0.05
)
CHOICE = [
    faults.RESET_AT_ONCE,
    faults.CLOSE_AT_ONCE,
    faults.RESET_BEFORE,
    faults.RESET_IN_HEAD,
    faults.RESET_IN_BODY,
    faults.RESET_AFTER,
    faults.CLOSE_BEFORE,
    faults.CLOSE_AFTER,
    faults.TRUNCATE_BODY,
    faults.STALL_BEFORE,
    faults.STALL_IN_BODY,
    faults.GO_DEAF,
    faults.STATUS_LINE,
    faults.NO_CHUNK_SIZE,
    faults.CHUNKED,
    faults.DUPLICATE,
]


class Reader:
    """Records violations that callers experience."""

    def __init__(self, clients):
        self.clients = clients
        self.stop = threading.Event()
        self.reads = 0
        self.dead = []
        self.errors = []  # while there was a valid token
        self.needed = []  # while there was none
        self.crashed = []

    def note(self, client, held, began, token=None, error=None):
        """Record what *client* got, if it had *held* when it asked."""
        self.reads += 1
        if token is not None:
            status, said = client.server.call(token)
            in_time = client.clock.monotonic() - began < MARGIN
            if status != 200 and in_time:  # a stalled machine proves nothing
                self.dead.append((status, said))
        elif held is not None and client.clock.monotonic() < held.dead_at:
            self.errors.append(error)
        else:
            self.needed.append(error)

    def thread(self):
        try:
            while not self.stop.wait(0.01):
                for client in self.clients:
                    held, began = (
                        internals.cached(client.keeper, client.name),
                        client.clock.monotonic(),
                    )
                    try:
                        token = client.keeper.get_token(client.name)
                    except TokenAcquisitionError as error:
                        self.note(client, held, began, error=error)
                    else:
                        self.note(client, held, began, token)
        except Exception as crash:  # noqa: BLE001 - whatever it is, it is the result
            self.crashed.append(crash)

    async def task(self, client):
        manager = OAuth2TokenManager(client.keeper)
        while not self.stop.is_set():
            held, began = internals.cached(client.keeper, client.name), client.clock.monotonic()
            try:
                token = await manager.get_token(client.name)
            except TokenAcquisitionError as error:
                self.note(client, held, began, error=error)
            else:
                await anyio.to_thread.run_sync(self.note, client, held, began, token)
            await anyio.sleep(0.01)

    def loop(self):
        async def main():
            async with anyio.create_task_group() as tasks:
                for client in self.clients:
                    tasks.start_soon(self.task, client)

        try:
            anyio.run(main)
        except Exception as crash:  # noqa: BLE001 - whatever it is, it is the result
            self.crashed.append(crash)


def test_storm(kit, make_client, proxy):
    """No expired token, no error while a token is valid, and recovery at the end."""
    chance = random.Random(SEED)
    clients = [
        make_client(lifetime=LIFETIME, retry=POLICY, read_timeout=0.3, cooldown=0.1)
        for _ in range(4)
    ]
    for client in clients:
        client.get()
    proxy.plan(*[chance.choice(CHOICE) for _ in range(FAULTS)])
    reader = Reader(clients)
    threads = [threading.Thread(target=each, daemon=True) for each in (reader.thread, reader.loop)]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + 60.0
    try:
        while len(proxy.applied) < FAULTS and time.monotonic() < ends and not reader.crashed:
            time.sleep(0.02)
            proxy.drop_idle(faults.Connection.close)  # faults of connections need new connections
            for client in clients[:2]:  # the others are renewed in the background only
                client.keeper.refresh_all()
    finally:
        reader.stop.set()
        for thread in threads:
            thread.join(kit.GUARD_SECONDS)
    assert reader.crashed == []
    assert reader.dead == []
    assert reader.errors == []
    assert len(proxy.applied) == FAULTS
    assert reader.reads > FAULTS
    for client in clients:
        kit.until(lambda client=client: client.keeper.refresh_all()[client.name], "recovery")
        client.get()
