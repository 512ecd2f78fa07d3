"""What happens to tokens, as records for whoever watches. None of them holds a secret.

.. code-block:: text

    TokenEvent
    ├── TokenGranted           a token came
    │   ├── TokenAcquired      ... the first one
    │   └── TokenRenewed       ... in the place of another
    ├── TokenDenied            no token came
    │   ├── AcquisitionFailed  ... and there was none before
    │   └── RenewalFailed      ... in the place of another
    ├── ServedStale            a renewal failed, and callers go on with the token at hand
    ├── CooledDown             there is no valid token, and nobody asks for one for a while
    ├── TokenRefused           an API refused a token, whatever its lifetime said
    ├── TokenRejected          ... and refuses what is granted instead, so a pause begins
    ├── TokenCleared           a token was forgotten
    └── ProviderRemoved        a provider was removed from its keeper
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = [
    "AcquisitionFailed",
    "CooledDown",
    "EventHook",
    "ProviderRemoved",
    "RenewalFailed",
    "ServedStale",
    "TokenAcquired",
    "TokenCleared",
    "TokenDenied",
    "TokenEvent",
    "TokenGranted",
    "TokenRefused",
    "TokenRejected",
    "TokenRenewed",
]

# A class without fields of its own inherits all that dataclass() makes. Making it again for each
# would take longer than the import of any other module.


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """Something happened to a token.

    :ivar provider_name: whose.
    :ivar occurred_at: when, in UTC, by the wall clock.
    """

    provider_name: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class TokenGranted(TokenEvent):
    """A token came.

    :ivar attempts: the requests that it took.
    :ivar duration_seconds: from the first request to the answer of the last, waits included.
    :ivar remaining_seconds: how long the token lives from now on.
    """

    attempts: int
    duration_seconds: float
    remaining_seconds: float


class TokenAcquired(TokenGranted):
    """A first token came."""

    __slots__ = ()


class TokenRenewed(TokenGranted):
    """A token came in the place of another."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TokenDenied(TokenEvent):
    """No token came.

    :ivar attempts: the requests that were made.
    :ivar duration_seconds: from the first request to the last failure, waits included.
    :ivar remaining_seconds: how long the token at hand still lives; 0 if none can be used.
    :ivar error: the server's code (RFC 6749 §5.2), where it said one.
    :ivar status_code: the HTTP status, where there was an answer.
    :ivar reason: the error in words.
    :ivar network_reason: why there was no answer, in one of a few words such as ``dns``, ``tls``,
        ``timeout`` or ``connection_refused``; ``None`` where there was one.
    """

    attempts: int
    duration_seconds: float
    remaining_seconds: float
    error: str | None
    status_code: int | None
    reason: str
    network_reason: str | None = None


class AcquisitionFailed(TokenDenied):
    """No token came, and there was none before."""

    __slots__ = ()


class RenewalFailed(TokenDenied):
    """A token could not be renewed."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ServedStale(TokenEvent):
    """A renewal failed, and callers go on with the token at hand.

    :ivar remaining_seconds: how long it still lives.
    """

    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class CooledDown(TokenEvent):
    """There is no valid token, and callers get the last error without a request for a while.

    :ivar cooldown_seconds: how long.
    """

    cooldown_seconds: float


class TokenRefused(TokenEvent):
    """An API refused a token, whatever its lifetime said."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TokenRejected(TokenEvent):
    """An API refuses freshly granted tokens: for a while its refusals cause no token request.

    Reported once for each such pause, at its first refusal. Callers of ``renew_refused`` get
    :class:`~tokenkeeper.exceptions.TokenRejectedError`, those of ``get_token`` the token.

    :ivar tokens: how many tokens were refused in a row.
    :ivar pause_seconds: how long refusals cause no token request.
    """

    tokens: int
    pause_seconds: float


class TokenCleared(TokenEvent):
    """A token was forgotten: somebody cleared it, or removed its provider."""

    __slots__ = ()


class ProviderRemoved(TokenEvent):
    """A provider was removed, by ``remove_provider()`` or ``reload()``, and its token with it.

    It comes after the :class:`TokenCleared` of its token. No event of that provider follows unless
    the name is registered again. ``close()`` reports no removals.
    """

    __slots__ = ()


class EventHook(Protocol):
    """A callable that is given each event. A plain function with one parameter will do.

    It is called soon after each event on a thread of the keeper's own, in the context
    (:mod:`contextvars`) of the caller that caused the event. A keeper calls it with one event at a
    time, in the order in which they happened; several keepers with one hook may call it at once.
    Callers that wait for a token have it by then. What a hook raises is logged and harms nothing.

    A slow hook delays no caller, no event loop, no renewal and no other hook. Later events are
    queued for it, 1,000 at most; beyond that the oldest are dropped, which is logged, and counted
    in ``health()["dropped_events"]``. ``close()`` waits a second for what is queued.

    A keeper without background threads (``background=False``, or a host that starts none) calls its
    hooks on the thread that reports the event, once the caller's answer is decided. There a slow
    hook does hold up that caller, beyond its ``timeout``.

    In a forked child a hook goes on unchanged, without the events that were pending at the fork: a
    lock of its own that another thread held then stays locked there.
    """

    def __call__(self, event: TokenEvent, /) -> None:
        """Take note of *event*, with a timeout on whatever it waits for."""
        ...
