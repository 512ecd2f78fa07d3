"""What blocking and async gRPC calls share: what a refusal is, and the deadline of a call."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import grpc

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["Deadline", "is_refusal"]


def is_refusal(code: Any) -> bool:
    """Return whether a call that ended with the status *code* was refused because of its token."""
    return bool(code is grpc.StatusCode.UNAUTHENTICATED)


class Deadline(NamedTuple):
    """The time at which a call has to end.

    :ivar details: the details of the call, as gRPC passed them.
    :ivar ends_at: on the monotonic clock of the machine; ``None`` for never.
    """

    details: Any
    ends_at: float | None

    @classmethod
    def of(cls, details: Any) -> Self:
        """Return the deadline of a call that begins now."""
        timeout = getattr(details, "timeout", None)
        return cls(details, None if timeout is None else SYSTEM_CLOCK.monotonic() + timeout)

    def remaining(self) -> float | None:
        """Return the seconds that are left, at least 0; ``None`` without a deadline."""
        return None if self.ends_at is None else max(0.0, self.ends_at - SYSTEM_CLOCK.monotonic())

    def details_now(self) -> Any:
        """Return the details for an attempt that begins now and ends by the deadline."""
        if self.ends_at is None:
            return self.details
        return _WithTimeout(self.details, self.remaining())


class _WithTimeout(grpc.ClientCallDetails):
    """The details of a call with another timeout.

    They may be an object of another interceptor's, so attributes are looked up, not copied.
    """

    def __init__(self, details: Any, timeout: float | None) -> None:
        self._details = details
        self.timeout = timeout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._details, name)
