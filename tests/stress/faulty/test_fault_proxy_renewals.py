"""Faults of the wire while a valid token is renewed: no caller notices."""

import threading

import anyio
import pytest
from kit.servers import fault_proxy as faults

from tokenkeeper import OAuth2TokenManager

FAULTS = [
    faults.RESET_AT_ONCE,
    faults.STALL_AT_ONCE,
    faults.RESET_BEFORE,
    faults.RESET_IN_BODY,
    faults.CLOSE_BEFORE,
    faults.STALL_IN_BODY,
    faults.TRUNCATE_BODY,
    faults.TRUNCATE_WITHOUT_LENGTH,
    faults.drip(0.02),
    faults.STATUS_LINE,
    faults.JSON_BYTE,
    faults.NO_CHUNK_SIZE,
]
FAILURES = 3
IN_THE_BUFFER = 57 * 60  # of an hour


def reading_all_along(client, stop):
    """Read tokens until *stop* is set, in a thread and in a task; return them."""
    read, errors = [], []

    def thread():
        try:
            while not stop.is_set():
                read.append(client.keeper.get_token(client.name))
                stop.wait(0.002)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            errors.append(error)

    async def task():
        manager = OAuth2TokenManager(client.keeper)
        while not stop.is_set():
            read.append(await manager.get_token(client.name))
            await anyio.sleep(0.002)

    def loop():
        try:
            anyio.run(task)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            errors.append(error)

    threads = [threading.Thread(target=each, daemon=True) for each in (thread, loop)]
    for each in threads:
        each.start()
    return read, errors, threads


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_renewals_that_fail(make_client, proxy, kit, fault):
    """Callers get the cached token while renewals fail, and the new one after a success."""
    client = make_client(read_timeout=0.4, total_timeout=0.7)
    first = client.get()
    info = client.info
    assert info["renewals"] == 0
    proxy.always(fault)
    client.clock.ahead += IN_THE_BUFFER
    stop = threading.Event()
    read, errors, threads = reading_all_along(client, stop)
    try:
        kit.until(lambda: errors or client.info["failures"] >= FAILURES, "renewals that fail")
        assert client.info["state"] == "renewing"
        assert client.info["last_error"].isprintable()
        assert set(read) == {first}
        proxy.clear()
        kit.until(lambda: errors or client.info["renewals"] == 1, "the renewal that works")
        kit.until(lambda: errors or read[-1] != first, "a reader of the new token")
    finally:
        stop.set()
        for each in threads:
            each.join(kit.GUARD_SECONDS)
    assert errors == []
    assert client.info["failures"] == 0
    assert client.info["last_error"] is None
    assert len(set(read)) == 2
    for token in set(read):
        client.present(token)
