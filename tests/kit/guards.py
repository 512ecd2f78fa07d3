"""What guards a test: the limit of every wait, its environment, and checks for what it leaves."""

import gc
import os
import threading
import time

import anyio

GUARD_SECONDS = 30.0
"""After this time, a wait for another thread or a server is a hang, and fails the test."""

PROGRAM_SECONDS = 90.0
"""The same for another project's program, which may start slowly on a busy machine."""

_OF_THE_NETWORK = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)

OF_THE_LIBRARY = ("AZURE_", "OAUTH2_", "TOKENKEEPER_")
"""How the names of the variables that configure the library begin."""


def until(condition, what="the condition", *, limit=GUARD_SECONDS, pause=0.001):
    """Wait until *condition* returns a true value, and return that.

    It is for states that no event announces.

    :param what: what the failure names, or a function that returns it.
    """
    ends = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < ends, f"{what() if callable(what) else what} never came true"
        time.sleep(pause)
    return result


async def until_async(condition, what="the condition", *, limit=GUARD_SECONDS, pause=0.001):
    """Wait for the same on an event loop, which runs on meanwhile."""
    ends = time.monotonic() + limit
    while not (result := condition()):
        assert time.monotonic() < ends, f"{what() if callable(what) else what} never came true"
        await anyio.sleep(pause)
    return result


async def ticks_during(awaitable):
    """Return the result of *awaitable*, and how often another task ran: rarely, if it blocks."""
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        result = await awaitable
        tasks.cancel_scope.cancel()
    return result, ticks


def plain_environment(monkeypatch):
    """Remove the machine's settings for proxies, CAs and authorities."""
    for name in _OF_THE_NETWORK:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)


def remove_variables(monkeypatch, *prefixes):
    """Remove the variables that begin with one of *prefixes*."""
    for name in list(os.environ):
        if name.startswith(prefixes):
            monkeypatch.delenv(name)


def library_threads():
    """Return the threads of the library that run, without the event loop, which stays."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name in ("tokenkeeper-refresher", "tokenkeeper-worker")
    ]


def open_sockets():
    """Return how many sockets this process has open; 0 if that is unknown."""
    gc.collect()
    count = 0
    for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            count += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except OSError:  # the one for the listing itself
            continue
    return count
