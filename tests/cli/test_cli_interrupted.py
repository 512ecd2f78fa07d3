"""A signal ends the command wherever its main thread waits, also just before the wait begins."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from kit.awake import awake_seconds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals"),
]

RUNS = int(os.environ.get("TOKENKEEPER_INTERRUPTED_RUNS", "3"))
"""How often each command is interrupted. For a long look: 500, which takes an hour."""

AT_ONCE_SECONDS = 0.5

# A thread takes the signal, so that nothing interrupts what the main thread waits for: the same
# as a signal that arrives in the moment before the wait begins.
WAITING = """
import os, queue, signal, socket, subprocess, sys, threading, time
from tokenkeeper import __main__
from tokenkeeper.cli import group

ours, theirs = socket.socketpair()
child = subprocess.Popen(["sleep", "60"])
locked = threading.Lock()
locked.acquire()


def command(**_):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.NAME])
    threading.Timer(0.2, os.kill, (os.getpid(), signal.NAME)).start()
    print("waits", flush=True)
    WAIT

group.cli = command
__main__.main()
"""


@pytest.fixture
def ended():
    """Return a function that runs a waiting program: its exit code; ``None`` if it waits on."""
    children = []

    def ended(wait, name="SIGINT"):
        program = WAITING.replace("NAME", name).replace("WAIT", wait)
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(process)
        assert process.stdout.readline() == "waits\n"
        try:
            return process.wait(timeout=20)  # each program waits for 60 s
        except subprocess.TimeoutExpired:
            return None

    yield ended
    for process in children:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the child that is waited for
        process.communicate()


@pytest.mark.parametrize(
    "wait",
    [
        "locked.acquire()",
        "locked.acquire(timeout=60)",
        "threading.Event().wait()",
        "queue.SimpleQueue().get()",
        "queue.Queue().get(timeout=60)",
        "time.sleep(60)",
        "ours.recv(1)",
        "ours.settimeout(60); ours.recv(1)",
        "child.wait()",
        "threading.Thread(target=time.sleep, args=(60,)).start(); sys.exit(0)",
    ],
)
def test_no_wait_is_deaf(ended, wait):
    """A signal that does not interrupt the main thread's wait ends the command anyway."""
    assert ended(wait) == 130


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_other_signals(ended, name, code):
    """So do SIGTERM and SIGHUP."""
    assert ended("locked.acquire()", name) == code


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "billing"),
        ("status", "--fetch"),
        ("doctor", "billing"),
        ("watch", "--seconds", "60"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_interrupted_at_any_moment(start, server, arguments):
    """While a server hangs, Ctrl-C ends each command in time, whenever it arrives."""
    with awake_seconds() as awake:
        assert late_ends(start, server, arguments, awake) == []


def late_ends(start, server, arguments, awake):
    """Interrupt the command repeatedly; return the runs that did not end soon."""
    chance = random.Random(arguments[0])
    late = []
    for run in range(RUNS):
        seen = server.stats().token_requests
        with server.outage("stall"):
            process = start(*arguments)
            while server.stats().token_requests == seen:
                assert process.poll() is None, process.communicate()
            time.sleep(chance.choice([0.0, chance.uniform(0, 0.005), chance.uniform(0, 0.3)]))
            process.send_signal(signal.SIGINT)
            began = awake()
            try:
                output = process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                late.append((run, "never"))
                process.kill()
                continue
            took = awake() - began
        assert process.returncode == 130, output
        if took > AT_ONCE_SECONDS + 1.5 * (RUNS < 100):  # beside other tests, on a busy machine
            late.append((run, round(took, 2)))
    return late
