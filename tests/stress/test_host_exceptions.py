"""A host's exception in a caller that renews inline reaches the caller unchanged."""

import asyncio
import ctypes
import signal
import threading
import time

import pytest
from kit import internals
from kit.servers.raw import Scripted, silence

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, RetryPolicy, TokenAcquisitionError
from tokenkeeper.testing import LoopbackAuthorizationServer

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="this platform sends no signal to a thread"
)


class SoftLimitError(Exception):
    """A host's exception that derives from Exception, as Celery's does."""


class SlowTaskError(TimeoutError):
    """One that derives from an error that is retried, as that of many decorators."""


class BadValueError(ValueError):
    """One that derives from a class that libraries raise and catch."""


class HardLimitError(BaseException):
    """One that derives from a class that no code catches."""


KINDS = [SoftLimitError, SlowTaskError, BadValueError, HardLimitError]


def by_signal(kind, thread):
    """Send a signal whose handler raises, as Celery's workers and many decorators do."""
    signal.pthread_kill(thread, signal.SIGUSR1)


def by_name(kind, thread):
    """Set the exception for the thread, as some other hosts do."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=[by_signal, by_name])
def interrupt(request, kind):
    """Return a function that interrupts the main thread soon after *entered* is set."""

    def handler(number, frame):
        raise kind("limit")

    before = signal.signal(signal.SIGUSR1, handler)
    main = threading.get_ident()
    threads = []

    def interrupt(entered):
        def wait():
            assert entered.wait(20)
            time.sleep(0.02)
            request.param(kind, main)

        thread = threading.Thread(target=wait)
        thread.start()
        threads.append(thread)

    yield interrupt
    for thread in threads:
        thread.join(30)
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def interrupted(kind):
    """Return a function that expects the host's exception itself, within a short time."""

    def interrupted(call):
        began = time.monotonic()
        with pytest.raises(kind) as raised:
            call()
        assert type(raised.value) is kind
        assert time.monotonic() - began < 10

    return interrupted


def assert_unharmed(kit, keeper, name="api"):
    """Another thread gets a token, and the interruption doesn't count as a failure."""
    health = keeper.health()["providers"][name]
    assert health["failures"] == 0
    assert health["status"] in ("idle", "ok")
    (token,) = kit.crowd(1, lambda: keeper.get_token(name, force_refresh=True)).join()
    assert isinstance(token, str), token


def nap(entered):
    """Be busy for a long time in short steps, between which an exception can be raised."""
    entered.set()
    ends = time.monotonic() + 20
    while time.monotonic() < ends:
        time.sleep(0.005)
    raise AssertionError("the call was not interrupted")


@pytest.fixture
def napping(kit):
    """Return a source whose first request takes long, and that reports when it has begun."""

    class Napping(kit.Source):
        began = threading.Event()

        def acquire_token(self):
            if not self.began.is_set():
                nap(self.began)
            return super().acquire_token()

    Napping.began = threading.Event()
    return Napping()


def test_in_a_provider(kit, make_keeper, napping, interrupt, interrupted):
    """A caller is interrupted in its own request; the others get their tokens."""
    keeper = make_keeper(napping, background=False)
    interrupt(napping.began)
    interrupted(lambda: keeper.get_token("api"))
    assert_unharmed(kit, keeper)


def test_in_a_provider_that_wraps_what_it_catches(
    kit, make_keeper, napping, interrupt, interrupted
):
    """A provider that turns every error into one of its own can't hide the interruption."""
    acquire = napping.acquire_token

    def wrapping():
        try:
            return acquire()
        except Exception as error:
            raise TokenAcquisitionError("no token", transient=True) from error

    napping.acquire_token = wrapping
    keeper = make_keeper(napping, background=False)
    interrupt(napping.began)
    interrupted(lambda: keeper.get_token("api"))
    assert_unharmed(kit, keeper)


def test_others_wait_meanwhile(kit, make_keeper, napping, interrupt, interrupted):
    """Callers that waited for the interrupted request make another one."""
    keeper = make_keeper(napping, background=False)

    def wait():
        assert napping.began.wait(20)
        return keeper.get_token("api")

    crowd = kit.crowd(4, wait)
    seen = threading.Event()

    def look():
        kit.until(lambda: kit.threads_waiting(keeper) == 4)
        seen.set()

    looking = kit.crowd(1, look)
    interrupt(seen)
    interrupted(lambda: keeper.get_token("api"))
    looking.join()
    assert set(crowd.join()) == set(napping.granted)


def test_in_an_async_provider(kit, make_keeper, interrupt, interrupted):
    """A caller that waits for a coroutine is interrupted, and the coroutine is cancelled."""
    began, ended = threading.Event(), threading.Event()

    class Slow(kit.Source):
        async def acquire_token(self):
            if not began.is_set():
                began.set()
                try:
                    await asyncio.sleep(20)
                finally:
                    ended.set()
            return super().acquire_token()

    keeper = make_keeper(Slow(), background=False)
    interrupt(began)
    interrupted(lambda: keeper.get_token("api"))
    assert ended.wait(10)
    assert_unharmed(kit, keeper)


def test_on_the_wire(kit, make_keeper, interrupt, interrupted):
    """A caller that waits for a server is interrupted, and the next one gets a token."""
    entered = threading.Event()

    def never_answer(server, sock):
        entered.set()
        silence(server, sock)

    with LoopbackAuthorizationServer() as server, Scripted(always=never_answer) as silent:
        mute = OAuth2Config("mute", "id", "secret", silent.url)
        keeper = make_keeper(
            # An exception that is set for a thread waits until the system call has returned.
            GenericOAuth2Provider(mute, read_timeout=0.5, retry=RetryPolicy(attempts=40)),
            GenericOAuth2Provider(server.config("api")),
            background=False,
        )
        interrupt(entered)
        interrupted(lambda: keeper.get_token("mute"))
        silent.close()
        assert keeper.health()["providers"]["mute"]["failures"] == 0
        assert_unharmed(kit, keeper)


def test_in_the_wait_before_a_retry(kit, make_keeper, interrupt, interrupted):
    """A caller that waits for a retry is interrupted, and close() waits for no thread."""
    source = kit.Source()
    source.error = ConnectionError("down")
    retry = RetryPolicy(attempts=3, initial_wait_seconds=20, max_wait_seconds=20)
    keeper = make_keeper(source, background=False, retry=retry, jitter=lambda: 1.0)
    waits = threading.Event()

    def look():
        kit.until(lambda: internals.retries_waiting(keeper))
        waits.set()

    looking = kit.crowd(1, look)
    interrupt(waits)
    interrupted(lambda: keeper.get_token("api"))
    looking.join()
    source.error = None
    assert_unharmed(kit, keeper)
    kit.crowd(1, keeper.close).join()


def test_in_a_hook(kit, make_keeper, interrupt, interrupted):
    """A caller that runs a hook is interrupted in it; the token and the next event are there."""
    entered, events = threading.Event(), []

    def hook(event):
        events.append(event)
        if not entered.is_set():
            nap(entered)

    keeper = make_keeper(kit.Source(), background=False, hooks=[hook])
    interrupt(entered)
    interrupted(lambda: keeper.get_token("api"))
    assert keeper.get_token("api")
    assert_unharmed(kit, keeper)
    assert len(events) == 2


def test_in_close(kit, make_keeper, interrupt, interrupted):
    """An interruption in a provider's close() reaches the caller."""
    entered = threading.Event()
    source = kit.Source()
    source.close = lambda: nap(entered)
    keeper = make_keeper(source, background=False)
    interrupt(entered)
    interrupted(keeper.close)
    source.close = lambda: None
    assert keeper.is_closed


def test_while_another_one_is_handled(make_keeper, kit, kind, interrupt):
    """A task that cleans up after its time limit gets the errors of its own calls."""
    entered = threading.Event()
    source = kit.Source()
    source.error = TokenAcquisitionError("refused", transient=False)
    keeper = make_keeper(source, background=False)
    interrupt(entered)
    try:
        nap(entered)
    except kind:
        with pytest.raises(TokenAcquisitionError, match="refused"):
            keeper.get_token("api")
