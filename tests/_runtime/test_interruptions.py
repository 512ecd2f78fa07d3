"""Exceptions that a host throws into a thread are distinguished from those of the called code."""

import ctypes
import functools
import os
import queue
import signal
import threading

import pytest

from tokenkeeper._runtime.interruptions import interruption_in, is_interruption
from tokenkeeper._support.hiding import without_frames

needs_signals = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="this platform has no signal to spare"
)


class SoftLimitError(Exception):
    """A host's exception that derives from Exception."""


class SlowTaskError(TimeoutError):
    """A host's exception that derives from a network error."""


class BadValueError(ValueError):
    """A host's exception that derives from a common built-in one."""


class HardLimitError(BaseException):
    """A host's exception that derives from a class that no code catches."""


KINDS = [SoftLimitError, SlowTaskError, BadValueError, HardLimitError]


def raised_by(call):
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is looked at
        return error
    raise AssertionError("nothing was raised")


# ---- by a signal


def handler_functions(kind):
    def plain(number, frame):
        raise kind("limit")

    def inner():
        raise kind("limit")

    def deep(number, frame):
        inner()

    class Handler:
        def method(self, number, frame):
            raise kind("limit")

        def __call__(self, number, frame):
            raise kind("limit")

    return {
        "a function": plain,
        "a function that calls another": deep,
        "a partial": functools.partial(plain),
        "a method": Handler().method,
        "an object": Handler(),
        "a lambda": lambda *_: (_ for _ in ()).throw(kind("limit")),
    }


@pytest.fixture
def on_signal():
    """Install a signal handler, and restore the previous one."""
    before = signal.getsignal(signal.SIGUSR1)
    yield functools.partial(signal.signal, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


@needs_signals
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", handler_functions(SoftLimitError))
def test_what_a_signal_handler_raises(on_signal, kind, how):
    """An exception of a signal handler is recognized, whatever its class and the handler."""
    on_signal(handler_functions(kind)[how])
    error = raised_by(lambda: signal.raise_signal(signal.SIGUSR1))
    assert type(error) is kind
    assert is_interruption(error)


@needs_signals
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_library_made_of_it(on_signal, kind):
    """An interruption that a library wrapped is found behind the library's error."""
    on_signal(handler_functions(kind)["a function"])

    def library():
        try:
            signal.raise_signal(signal.SIGUSR1)
        except kind as error:
            raise ConnectionError("aborted", error) from None

    found = interruption_in(raised_by(library))
    assert type(found) is kind


@needs_signals
def test_what_was_handled_before_does_not_count(on_signal):
    """An error of a call during the handling of an interruption is the call's own error."""
    on_signal(handler_functions(SoftLimitError)["a function"])
    try:
        signal.raise_signal(signal.SIGUSR1)
    except SoftLimitError as limit:
        struck = limit
        error = raised_by(lambda: [].pop())
    assert error.__context__ is struck
    assert interruption_in(error, struck) is None
    assert interruption_in(error) is struck


@needs_signals
def test_frames_that_are_forgotten(on_signal):
    """An interruption is still recognized after its traceback was removed, as the same object."""
    on_signal(handler_functions(SlowTaskError)["a function"])
    error = raised_by(without_frames(lambda: signal.raise_signal(signal.SIGUSR1)))
    assert type(error) is SlowTaskError
    assert is_interruption(error)


# ---- set for a thread


def rounds():
    while True:
        pass


def calls():
    while True:
        len("")


def functions():
    def empty():
        pass

    while True:
        empty()


def comprehensions():
    while True:
        [number + 1 for number in range(100)]


def waits():
    lock = threading.Lock()
    while True:
        lock.acquire(timeout=0.001)
        lock.locked() and lock.release()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("busy", [rounds, calls, functions, comprehensions, waits])
def test_what_is_set_for_a_thread(kind, busy):
    """An exception that ``PyThreadState_SetAsyncExc`` sets is recognized wherever it is raised."""
    struck = []
    began = threading.Event()

    def work():
        began.set()
        struck.append(raised_by(busy))

    thread = threading.Thread(target=work)
    thread.start()
    assert began.wait(10)
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    while thread.is_alive() and not struck:
        throw(ctypes.c_ulong(thread.ident), ctypes.py_object(kind))
        thread.join(0.05)
    thread.join(10)
    assert type(struck[0]) is kind
    assert is_interruption(struck[0])


# ---- of a known host


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("billiard.exceptions", "SoftTimeLimitExceeded"),
        ("rq.timeouts", "BaseTimeoutException"),
        ("stopit.utils", "TimeoutException"),
    ],
)
def test_classes_of_known_hosts(module, name):
    """A known host's class is recognized, and so is a derived one, wherever it was raised."""
    known = type(name, (Exception,), {"__module__": module, "__qualname__": name})

    class Derived(known):
        pass

    assert is_interruption(known())
    assert is_interruption(Derived("1 s"))


# ---- everything else


def raise_it(error):
    raise error


OWN_ERRORS = {
    "raised": lambda: raise_it(SoftLimitError()),
    "raised as a timeout": lambda: raise_it(TimeoutError()),
    "by a call": lambda: [].pop(),
    "by a call, without arguments": lambda: queue.SimpleQueue().get(block=False),
    "by a conversion": lambda: int("x"),
    "by a lookup": lambda: {}["x"],
    "by the file system": lambda: os.stat("/nowhere/at/all"),
    "by a name": lambda: unknown_name,  # noqa: F821
    "by an attribute": lambda: None.nothing,
    "by an operator": lambda: 1 / 0,
    "by an iterator": lambda: next(iter(())),
    "by json": lambda: __import__("json").loads("{"),
}


@pytest.mark.parametrize("own", OWN_ERRORS)
def test_what_the_called_code_raises(own):
    """Errors of the called code are not interruptions."""
    assert not is_interruption(raised_by(OWN_ERRORS[own]))


def test_nothing():
    """``None`` is not an interruption."""
    assert not is_interruption(None)
    assert not is_interruption(SoftLimitError("never raised"))
