"""A gRPC call by ``future()`` that is made again if the first attempt is refused."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import grpc

from tokenkeeper.integrations._grpc_calls import is_refusal

__all__ = ["RenewingFuture"]

_log = logging.getLogger("tokenkeeper.integrations.grpc")


class RenewingFuture(grpc.Future, grpc.Call):  # type: ignore[type-arg]
    """A call that may be made again in the background. Its caller sees one call.

    :param call: the first attempt.
    :param handle_refusal: called on its own thread if the server refuses the token; returns
        whether to make the call again.
    :param call_again: makes the call again, on that thread.
    """

    def __init__(
        self, call: Any, handle_refusal: Callable[[], bool], call_again: Callable[[], Any]
    ) -> None:
        self._call = call
        self._handle_refusal = handle_refusal
        self._call_again = call_again
        self._context = copy_context()  # for other interceptors, such as those that trace
        self._ended = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._is_between = False  # refused, and not made again yet
        self._is_unwanted = False
        self._was_cancelled = False  # while it was between
        self._callbacks: list[Callable[[Any], None]] = []
        call.add_done_callback(self._first_ended)

    # ---- the two attempts, on threads of gRPC and one of our own

    def _first_ended(self, call: Any) -> None:
        with self._lock:
            self._is_between = is_refusal(call.code()) and not self._is_unwanted
        if not self._is_between:
            self._end()
            return
        try:
            threading.Thread(
                target=self._context.run, args=(self._second_attempt,), daemon=True
            ).start()
        except RuntimeError:  # no thread can be started: the caller gets the refusal
            self._end()

    def _second_attempt(self) -> None:
        try:
            is_renewed = self._handle_refusal()
            if self._ended.is_set():  # cancelled meanwhile
                return
            if not is_renewed:
                self._end()
                return
            call = self._call_again()
        except Exception:  # noqa: BLE001 - such as that of a channel that was closed meanwhile
            self._end()
            return
        with self._lock:
            self._is_between = False
            unwanted = self._is_unwanted
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
            except Exception:  # noqa: BLE001 - as in gRPC, the other callbacks are called too
                _log.exception("a callback of a call failed")

    # ---- grpc.Future

    def cancel(self) -> bool:
        with self._lock:
            if self._ended.is_set():
                return False
            self._is_unwanted = True
            self._was_cancelled = self._is_between
        if not self._was_cancelled:
            return bool(self._call.cancel())
        self._end()
        return True

    def cancelled(self) -> bool:
        return self._was_cancelled or bool(self._call.cancelled())

    def running(self) -> bool:
        return not self._ended.is_set()

    def done(self) -> bool:
        return self._ended.is_set()

    def result(self, timeout: float | None = None) -> Any:
        return self._final_call(timeout).result()

    def exception(self, timeout: float | None = None) -> Any:
        return self._final_call(timeout).exception()

    def traceback(self, timeout: float | None = None) -> Any:
        return self._final_call(timeout).traceback()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        with self._lock:
            if not self._ended.is_set():
                self._callbacks.append(fn)
                return
        fn(self)

    # ---- grpc.Call

    def code(self) -> Any:
        call = self._ended_call()
        return grpc.StatusCode.CANCELLED if self._was_cancelled else call.code()

    def details(self) -> Any:
        call = self._ended_call()
        return "cancelled before it was made again" if self._was_cancelled else call.details()

    def initial_metadata(self) -> Any:
        return self._ended_call().initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._ended_call().trailing_metadata()

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

    def _final_call(self, timeout: float | None) -> Any:
        """Return the attempt whose outcome counts, once it has ended."""
        call = self._ended_call(timeout)
        if self._was_cancelled:
            raise grpc.FutureCancelledError
        return call

    def _ended_call(self, timeout: float | None = None) -> Any:
        if not self._ended.wait(timeout):
            raise grpc.FutureTimeoutError
        return self._call
