"""The event loop that the library owns."""

import asyncio
import threading

import anyio
import pytest
from kit import internals

from tokenkeeper._runtime import provider_loop


async def where():
    return threading.current_thread().name, asyncio.get_running_loop()


async def in_executor():
    return await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)


def test_plain_functions_run_where_they_are_called():
    """A plain function is called directly."""
    assert provider_loop.call(threading.get_ident) == threading.get_ident()
    assert provider_loop.call(divmod, 7, 2) == (3, 1)


def test_one_loop_for_the_process():
    """Coroutines from many threads all run on one loop, on a thread of the library."""
    seen = []
    threads = [
        threading.Thread(target=lambda: seen.append(provider_loop.call(where))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert seen[0][0] == "tokenkeeper-loop"


def test_awaitables_are_finished_on_the_loop():
    """A plain function that returns an awaitable counts as async."""
    assert provider_loop.call(lambda: where())[0] == "tokenkeeper-loop"


def test_errors_come_back():
    """An exception of a coroutine is raised to the caller."""

    async def fail():
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        provider_loop.call(fail)


def test_recognizes_its_own_thread():
    """The loop's own thread is recognized."""

    async def inside():
        return provider_loop.on_provider_loop()

    assert provider_loop.call(inside) is True
    assert provider_loop.on_provider_loop() is False


def test_a_loop_that_does_not_start(monkeypatch):
    """Callers that wait for the loop get the error, and the next call starts it again."""
    loop = internals.new_provider_loop()
    with monkeypatch.context() as patch:
        patch.setattr(anyio, "run", lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loop.run(where)
    assert loop.run(where)
    loop.stop(10.0)


def test_stop_ends_the_thread():
    """An idle loop that is stopped leaves no thread behind."""
    loop = internals.new_provider_loop()
    loop.stop(1.0)
    loop.run(where)
    loop.stop(10.0)
    assert not loop.thread.is_alive()


def test_stop_at_exit_with_an_executor(monkeypatch):
    """A loop that used its executor ends without a traceback where no thread can start any more."""
    loop, failures = internals.new_provider_loop(), []
    loop.run(in_executor)
    start = threading.Thread.start

    def refuse(thread):
        if threading.current_thread() is loop.thread:  # as at the exit of Python 3.12
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        patch.setattr(threading, "excepthook", failures.append)
        loop.stop(10.0)
    assert not loop.thread.is_alive()
    assert failures == []


def test_stop_does_not_wait_for_a_coroutine_that_hangs():
    """A coroutine that hangs does not delay the stop."""
    loop = internals.new_provider_loop()
    entered, go_on = threading.Event(), anyio.Event()

    async def hang():
        entered.set()
        await go_on.wait()

    caller = threading.Thread(target=loop.run, args=(hang,))
    caller.start()
    assert entered.wait(10)
    running = loop.start()
    loop.stop(0.0)
    assert caller.is_alive()
    running.call_soon_threadsafe(go_on.set)
    caller.join(10)
    loop.thread.join(10)
    assert not loop.thread.is_alive()
