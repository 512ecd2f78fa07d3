"""What the stress tests share: providers with gates and detectors, and ways to run a crowd."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

import tokenkeeper
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper
from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper.clock import SYSTEM_CLOCK

GUARD_SECONDS = 30.0
"""What hangs for so long hangs for ever."""

ticks = itertools.count(1)
"""Orders what happens in different threads: a later event has the higher tick."""


class Source(BaseOAuth2Provider):
    """Grants tokens that say when they end, notes every request, and can be held up at a gate.

    It has no lock that a fork could copy in its locked state.
    """

    def __init__(self, name="api", *, lifetime=3600.0, clock=SYSTEM_CLOCK, **options):
        super().__init__(name, **options)
        self.lifetime = lifetime
        self.clock = clock
        self.error = None  # raised in the place of a grant
        self.granted = {}  # token -> (tick when the request came, when it ends by the clock)
        self.came = []  # the tick of each request
        self.went = []
        self.overlaps = 0
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self._busy = threading.Lock()

    @property
    def requests(self):
        return len(self.came)

    def hold(self):
        """Let no further request through until the gate is opened."""
        self.entered.clear()
        self.gate.clear()

    def acquire_token(self):
        alone = self._busy.acquire(blocking=False)
        self.overlaps += not alone
        try:
            tick = next(ticks)
            self.came.append(tick)
            sent = self.clock.monotonic()
            ends = datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(seconds=self.lifetime)
            self.entered.set()
            assert self.gate.wait(GUARD_SECONDS), "nobody opened the gate"
            if self.error is not None:
                raise self.error
            token = f"{self.provider_name}-{os.getpid()}-{tick}-{ends.timestamp()}"
            self.granted[token] = (tick, sent + self.lifetime)
            return OAuth2Token(token, "Bearer", ends)
        finally:
            self.went.append(next(ticks))
            if alone:
                self._busy.release()

    def is_alive(self, token):
        """Say whether the server would take *token* now."""
        return self.clock.monotonic() < self.granted[token][1]


class AsyncSource(Source):
    """The same with ``async def``; notes the loop and the thread that it runs on."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.places = set()
        self.asked = 0

    async def acquire_token(self):
        self.asked += 1
        self.places.add((threading.current_thread().name, asyncio.get_running_loop()))
        self.entered.set()
        with anyio.fail_after(GUARD_SECONDS):
            while not self.gate.is_set():
                await anyio.sleep(0.001)
        return super().acquire_token()


class Crowd:
    """Threads that start together; what each returned or raised is kept in order."""

    def __init__(self, *jobs):
        self.results = [None] * len(jobs)
        self._start = threading.Barrier(len(jobs))
        self.threads = [
            threading.Thread(target=self._run, args=(index, job), daemon=True)
            for index, job in enumerate(jobs)
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, index, job):
        self._start.wait(GUARD_SECONDS)
        try:
            self.results[index] = job()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            self.results[index] = error

    def join(self):
        """Return the results; a thread that hangs is a failure."""
        ends = time.monotonic() + GUARD_SECONDS
        for thread in self.threads:
            thread.join(max(0.0, ends - time.monotonic()))
        alive = sum(thread.is_alive() for thread in self.threads)
        assert not alive, f"{alive} of {len(self.threads)} threads hang"
        return self.results


def crowd(count, job):
    """Run *job* in *count* threads at once."""
    return Crowd(*[job] * count)


def until(condition, what="the condition"):
    """Wait for *condition* to hold; for states that no event announces."""
    ends = time.monotonic() + GUARD_SECONDS
    while not condition():
        assert time.monotonic() < ends, f"{what} never came true"
        time.sleep(0.001)


def flight_of(keeper, name="api"):
    """Return the flight under way."""
    return keeper._coordinator._flights.get(name)


def threads_waiting(keeper, name="api"):
    """Return how many threads wait for the flight of *name*."""
    flight = flight_of(keeper, name)
    waiters = () if flight is None else list(flight._waiters)  # others come and go meanwhile
    return sum(1 for waiter in waiters if hasattr(waiter, "locked"))


def tasks_waiting(keeper, name="api"):
    """Return how many tasks wait for the flight of *name*, in all event loops."""
    flight = flight_of(keeper, name)
    events = () if flight is None else list(flight._loops.values())
    return sum(event.statistics().tasks_waiting for event in events)


def library_threads():
    """Return the threads of the library that run, without the event loop, which stays."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name in ("tokenkeeper-refresher", "tokenkeeper-worker")
    ]


class Child:
    """A forked child that does a job and reports what it returned through a pipe."""

    def __init__(self, job):
        reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(job, writer)
        os.close(writer)
        self._reader = reader

    @staticmethod
    def _live(job, writer):
        code = 70
        try:
            # A child that hangs is killed by the system, whatever state its threads are in.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(GUARD_SECONDS))
            try:
                report = [True, job()]
            except Exception:  # noqa: BLE001 - whatever it is, the parent is told
                report = [False, traceback.format_exc()]
            os.write(writer, json.dumps(report).encode() + b"\n")
            code = 0
        finally:
            os._exit(code)

    def result(self):
        """Return what the job returned; a child that hung, crashed or raised is a failure."""
        with os.fdopen(self._reader, "rb") as pipe:
            line = pipe.readline()  # not read(): later children hold the other end as well
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        assert code == 0, f"the child ended with {code}"
        worked, what = json.loads(line)
        assert worked, what
        return what


@contextmanager
def held_by_another_thread(lock):
    """Have another thread hold *lock* meanwhile."""
    taken, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            done.wait(GUARD_SECONDS)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert taken.wait(GUARD_SECONDS)
    try:
        yield
    finally:
        done.set()
        thread.join(GUARD_SECONDS)


class Script:
    """A Python program in a process of its own."""

    def __init__(self, path, text, *options):
        path.write_text(text, encoding="utf-8")
        # The package under test, wherever it is, and not the one in the working directory.
        home = str(Path(tokenkeeper.__file__).parent.parent)
        environment = {**os.environ, "PYTHONPATH": home, "PYTHONFAULTHANDLER": "1"}
        self._process = subprocess.Popen(
            [sys.executable, *options, str(path)],
            cwd=path.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def result(self):
        """Return exit code, output and errors; a program that hangs is a failure."""
        try:
            output, errors = self._process.communicate(timeout=GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # shows where its threads are
            output, errors = self._process.communicate()
            pytest.fail(f"the program hangs\n{output}\n{errors}")
        return self._process.returncode, output, errors


@pytest.fixture
def kit():
    """Return this module: tests are not a package, so they can't import it."""
    return sys.modules[__name__]


@pytest.fixture
def make_keeper():
    """Make keepers that are closed in the end."""
    made = []

    def make(*providers, **options):
        keeper = TokenKeeper(**options)
        made.append((keeper, providers))
        for provider in providers:
            keeper.add_provider(provider)
        return keeper

    yield make
    for keeper, providers in made:
        for provider in providers:
            with suppress(AttributeError):
                provider.gate.set()
        keeper.close()


@pytest.fixture
def make_script(tmp_path):
    """Start Python programs."""
    numbers = itertools.count()

    def make(text, *options):
        return Script(tmp_path / f"program_{next(numbers)}.py", text, *options)

    return make
