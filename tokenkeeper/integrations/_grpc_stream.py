"""A gRPC call with many responses that is made again if the first attempt is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

import grpc

from tokenkeeper.integrations._grpc_calls import is_refusal

__all__ = ["RenewingStream"]


class RenewingStream:
    """The responses of a call, which may be made again until the first response has arrived.

    Any other attribute is that of the current attempt.

    :param call: the first attempt.
    :param handle_refusal: called when the server refuses the token, with whether the call can be
        made again; returns whether to make it again.
    :param call_again: makes the call again; ``None`` if that is impossible.
    """

    def __init__(
        self,
        call: Any,
        handle_refusal: Callable[[bool], bool],
        call_again: Callable[[], Any] | None,
    ) -> None:
        self._call = call
        self._handle_refusal = handle_refusal
        self._call_again = call_again
        self._cancelled = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            response = next(self._call)
        except grpc.RpcError:
            call_again, self._call_again = self._call_again, None
            if self._cancelled.is_set() or not is_refusal(self._call.code()):
                raise
            is_renewed = self._handle_refusal(call_again is not None)
            if call_again is None or not is_renewed or self._cancelled.is_set():
                raise
        else:
            self._call_again = None
            return response
        self._call = call_again()
        if self._cancelled.is_set():  # meanwhile, on another thread
            self._call.cancel()
        return next(self)

    def cancel(self) -> Any:
        """End the call, and keep it from being made again."""
        self._cancelled.set()
        return self._call.cancel()
