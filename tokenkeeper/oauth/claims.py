"""Whether the running request was claimed in a store, for providers and their transports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

__all__ = ["LookAgain", "claimed", "is_claimed", "last_look", "may_send", "without_claim"]


class LookAgain(Exception):  # noqa: N818 - it is not an error
    """Another process is requesting this token, or the store is being left alone.

    :ivar after_seconds: when to look at the store again.
    """

    def __init__(self, after_seconds: float) -> None:
        super().__init__()
        self.after_seconds = after_seconds


class _Claim(NamedTuple):
    held: bool
    is_young: Callable[[], bool]


_claim: ContextVar[_Claim | None] = ContextVar("tokenkeeper_claim", default=None)


@contextmanager
def claimed(is_young: Callable[[], bool]) -> Iterator[None]:
    """Let what runs inside know that its request is claimed in the store.

    :param is_young: returns whether the claim is young enough to send the request.
    """
    with _noted(_Claim(True, is_young)):
        yield


@contextmanager
def without_claim() -> Iterator[None]:
    """Let what runs inside know that there is a store, and that it could not be used."""
    with _noted(_Claim(False, lambda: True)):
        yield


@contextmanager
def _noted(claim: _Claim) -> Iterator[None]:
    outer = _claim.set(claim)
    try:
        yield
    finally:
        _claim.reset(outer)


def is_claimed() -> bool | None:
    """Return whether this request was claimed; ``None`` for a keeper without a store."""
    claim = _claim.get()
    return None if claim is None else claim.held


def may_send() -> bool:
    """Return whether the request may still be sent: its claim, if it needs one, is young.

    A process that was stopped meanwhile may find that another one has sent the same request.
    """
    claim = _claim.get()
    return claim is None or claim.is_young()


def last_look() -> None:
    """Raise :class:`LookAgain` unless the request may still be sent.

    Called right before bytes of a request are sent: after the name was resolved, the connection
    made and encrypted. Nothing is sent then, or not all of it, so no server acts on the request.
    """
    if not may_send():
        raise LookAgain(0.0)
