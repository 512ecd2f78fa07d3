"""Calls of gRPC that may be made twice, while their caller sees one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, NamedTuple, Self

import grpc

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["Answers", "Deadline", "Later", "was_refused"]

_log = logging.getLogger("tokenkeeper.integrations.grpc")


def was_refused(call: Any) -> bool:
    """Say whether the server refused the token of *call*, which has ended, or will."""
    return bool(call.code() is grpc.StatusCode.UNAUTHENTICATED)


class Deadline(NamedTuple):
    """When a call has to end, whatever is done for it before and between.

    :ivar details: the call's own, as gRPC handed them over.
    :ivar ends: on the machine's monotonic clock; ``None`` for never.
    """

    details: Any
    ends: float | None

    @classmethod
    def of(cls, details: Any) -> Self:
        """Return that of a call which begins now."""
        timeout = getattr(details, "timeout", None)
        return cls(details, None if timeout is None else SYSTEM_CLOCK.monotonic() + timeout)

    def left(self) -> float | None:
        """Return the seconds that are left, 0 at least; ``None`` for all the time there is."""
        return None if self.ends is None else max(0.0, self.ends - SYSTEM_CLOCK.monotonic())

    def now(self) -> Any:
        """Return the details of a call that begins now and ends as the first one would have."""
        return self.details if self.ends is None else _Shortened(self.details, self.left())


class _Shortened(grpc.ClientCallDetails):
    """The details of a call, but for its timeout. An interceptor may have made them, and how."""

    def __init__(self, details: Any, timeout: float | None) -> None:
        self._details = details
        self.timeout = timeout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._details, name)


class Answers:
    """A call with many answers, of which the first decides whether it is made again.

    All but the answers is looked up at the call that counts.

    :param let_go: told of a refusal that is the caller's; it waits for nothing.
    :param renew: waits for a new token; returns ``False`` if the call is not to be made again.
    :param again: makes the call again, or is ``None`` if that can't be.
    """

    def __init__(
        self,
        call: Any,
        *,
        let_go: Callable[[], None],
        renew: Callable[[], bool | None],
        again: Callable[[], Any] | None,
    ) -> None:
        self._call = call
        self._let_go = let_go
        self._renew = renew
        self._again = again
        self._unwanted = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            answer = next(self._call)
        except grpc.RpcError:
            again, self._again = self._again, None
            if self._unwanted.is_set() or not was_refused(self._call):
                raise
            if again is None:
                self._let_go()
                raise
            if self._renew() is False or self._unwanted.is_set():
                raise
            self._call = again()
        else:
            self._again = None
            return answer
        if self._unwanted.is_set():
            self._call.cancel()
        return next(self)

    def cancel(self) -> Any:
        """End the call, or see to it that it is not made again."""
        self._unwanted.set()
        return self._call.cancel()


class Later(grpc.Future, grpc.Call):  # type: ignore[type-arg]
    """A call that is made again, where it was refused, while its caller may do something else.

    :param renew: waits for a new token, on a thread of its own; returns ``False`` if the call is
        not to be made again.
    :param again: makes the call again, on that thread.
    """

    def __init__(
        self, call: Any, renew: Callable[[], bool | None], again: Callable[[], Any]
    ) -> None:
        self._call = call
        self._renew = renew
        self._again = again
        self._context = copy_context()  # what other interceptors go by, such as those that trace
        self._ended = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._between = False  # refused, and not made again yet
        self._unwanted = False
        self._cancelled = False  # while it was between
        self._callbacks: list[Callable[[Any], None]] = []
        call.add_done_callback(self._first_ended)

    # ---- on threads of gRPC, and of our own

    def _first_ended(self, call: Any) -> None:
        with self._lock:
            self._between = was_refused(call) and not self._unwanted
        if not self._between:
            self._end()
            return
        try:
            threading.Thread(
                target=self._context.run, args=(self._make_again,), daemon=True
            ).start()
        except RuntimeError:  # no thread to be had: the refusal is the caller's
            self._end()

    def _make_again(self) -> None:
        try:
            renewed = self._renew()
            if self._ended.is_set():  # cancelled meanwhile
                return
            if renewed is False:
                self._end()
                return
            call = self._again()
        except Exception:  # noqa: BLE001 - such as of a channel that was closed meanwhile
            self._end()
            return
        with self._lock:
            self._between = False
            unwanted = self._unwanted
            if not unwanted:
                self._call = call
        if unwanted:
            call.cancel()
        else:
            call.add_done_callback(lambda _: self._end())

    def _end(self) -> None:
        with self._lock:
            self._ended.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback(self)
            except Exception:  # noqa: BLE001 - as gRPC has it, the others are called all the same
                _log.exception("a callback of a call failed")

    # ---- as grpc.Future

    def cancel(self) -> bool:
        with self._lock:
            if self._ended.is_set():
                return False
            self._unwanted = True
            self._cancelled = self._between
        if not self._cancelled:
            return bool(self._call.cancel())
        self._end()
        return True

    def cancelled(self) -> bool:
        return self._cancelled or bool(self._call.cancelled())

    def running(self) -> bool:
        return not self._ended.is_set()

    def done(self) -> bool:
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> Any:
        return self._counts(timeout).result()

    def exception(self, timeout: float | None = None) -> Any:
        return self._counts(timeout).exception()

    def traceback(self, timeout: float | None = None) -> Any:
        return self._counts(timeout).traceback()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        with self._lock:
            if not self._ended.is_set():
                self._callbacks.append(fn)
                return
        fn(self)

    # ---- as grpc.Call

    def code(self) -> Any:
        call = self._waited_for()
        return grpc.StatusCode.CANCELLED if self._cancelled else call.code()

    def details(self) -> Any:
        call = self._waited_for()
        return "cancelled before it was made again" if self._cancelled else call.details()

    def initial_metadata(self) -> Any:
        return self._waited_for().initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._waited_for().trailing_metadata()

    def is_active(self) -> bool:
        return self.running()

    def time_remaining(self) -> Any:
        return self._call.time_remaining()

    def add_callback(self, callback: Callable[[], None]) -> bool:
        with self._lock:
            if self._ended.is_set():
                return False
            self._callbacks.append(lambda _: callback())
        return True

    def _counts(self, timeout: float | None) -> Any:
        call = self._waited_for(timeout)
        if self._cancelled:
            raise grpc.FutureCancelledError
        return call

    def _waited_for(self, timeout: float | None = None) -> Any:
        """Return the call that counts, when it has ended."""
        if not self._ended.wait(timeout):
            raise grpc.FutureTimeoutError
        return self._call
