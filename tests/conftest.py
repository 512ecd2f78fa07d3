"""A provider that does as it is told, and keepers on a clock that is stepped by hand."""

import os
import signal
import threading
from datetime import UTC, datetime, timedelta

import hypothesis
import pytest

from tokenkeeper import BaseOAuth2Provider, OAuth2Error, OAuth2Token, TokenKeeper
from tokenkeeper.testing import SteppedClock

if "CI" not in os.environ:  # there Hypothesis has a profile of its own: no deadline, no chance
    hypothesis.settings.register_profile("here", deadline=None)
    hypothesis.settings.load_profile("here")


@pytest.fixture(autouse=True, scope="session")
def programs_heed_signals():
    """Let Ctrl-C and its like reach the programs that are started, wherever the tests run.

    What a shell starts in the background ignores Ctrl-C, what nohup starts a terminal's end, and
    so would all that comes of that.
    """
    own = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }
    for name, handler in own.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


class Source(BaseOAuth2Provider):
    """Grants NAME-1, NAME-2, ...; raises ``error`` if there is one; waits at ``gate``."""

    def __init__(self, name="api", *, clock, lifetime=3600.0, **options):
        super().__init__(name, **options)
        self.clock = clock
        self.lifetime = lifetime
        self.error = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.requests = 0
        self.refreshed = []
        self.closed = 0

    def acquire_token(self):
        self.requests += 1
        number = self.requests
        self.entered.release()
        assert self.gate.wait(20), "nobody opened the gate"
        if self.error is not None:
            raise self.error
        ends = datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(seconds=self.lifetime)
        return OAuth2Token(f"{self.provider_name}-{number}", "Bearer", ends, scope="read")

    def refresh_token(self, token):
        self.refreshed.append(token.access_token)
        return self.acquire_token()

    def close(self):
        self.closed += 1


@pytest.fixture
def clock():
    """Return a clock that the waits of retries step."""
    return SteppedClock(auto_step="retries")


@pytest.fixture
def make_source(clock):
    """Return a maker of sources on the clock of the test."""

    def make(name="api", **options):
        return Source(name, clock=clock, **options)

    return make


@pytest.fixture
def source(make_source):
    """Return a source called "api"."""
    return make_source()


@pytest.fixture
def keeper(clock, source):
    """Return a keeper with the source, which renews in the background when told to look.

    Its refresher has no thread: ``look(keeper)`` plays it.
    """
    keeper = TokenKeeper(clock=clock, jitter=lambda: 0.0)
    keeper._coordinator.background.scheduler._thread = threading.current_thread()
    keeper.add_provider(source)
    yield keeper
    keeper._coordinator.background.scheduler._thread = None
    source.gate.set()
    keeper.close()


@pytest.fixture
def in_thread():
    """Return what calls a function on a thread: the thread, and the list its outcome lands in."""

    def in_thread(function, *arguments):
        outcomes = []

        def run():
            try:
                outcomes.append(function(*arguments))
            except OAuth2Error as error:
                outcomes.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, outcomes

    return in_thread


@pytest.fixture
def look():
    """Return what plays the refresher's thread: renew what is due, and wait until that is done."""

    def look(keeper):
        keeper._coordinator.look_at_clocks()
        due = keeper._coordinator.background.scheduler.take_due()
        for name in due:
            keeper._coordinator.renew(name)
            flight = keeper._coordinator._flights.get(name)
            if flight is not None:
                assert flight.wait(20)
        return due

    return look


@pytest.fixture
def exit_code_of():
    """Return what forks, calls a function in the child, and returns its exit code.

    A child that hangs is killed, and so a failure.
    """

    def exit_code_of(child):
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = child()
            finally:
                os._exit(code)
        ended = []
        reaper = threading.Thread(target=lambda: ended.append(os.waitpid(pid, 0)[1]))
        reaper.start()
        reaper.join(20)
        if reaper.is_alive():
            os.kill(pid, signal.SIGKILL)
            reaper.join()
        return os.waitstatus_to_exitcode(ended[0])

    return exit_code_of
