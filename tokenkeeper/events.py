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
    └── TokenCleared           a token was forgotten
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = [
    "AcquisitionFailed",
    "CooledDown",
    "EventHook",
    "RenewalFailed",
    "ServedStale",
    "TokenAcquired",
    "TokenCleared",
    "TokenDenied",
    "TokenEvent",
    "TokenGranted",
    "TokenRefused",
    "TokenRenewed",
]


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


@dataclass(frozen=True, slots=True)
class TokenAcquired(TokenGranted):
    """A first token came."""


@dataclass(frozen=True, slots=True)
class TokenRenewed(TokenGranted):
    """A token came in the place of another."""


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


@dataclass(frozen=True, slots=True)
class AcquisitionFailed(TokenDenied):
    """No token came, and there was none before."""


@dataclass(frozen=True, slots=True)
class RenewalFailed(TokenDenied):
    """A token could not be renewed."""


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


@dataclass(frozen=True, slots=True)
class TokenRefused(TokenEvent):
    """An API refused a token, whatever its lifetime said."""


@dataclass(frozen=True, slots=True)
class TokenCleared(TokenEvent):
    """A token was forgotten: somebody cleared it, or removed its provider."""


class EventHook(Protocol):
    """Whoever wants to be told. A plain function with one parameter will do.

    It is called right after each event, on a thread of the keeper or of a caller, in the context
    of the caller who caused it. A keeper calls it with one event at a time, in the order in which
    they happened; several keepers with one hook may call it at once. Callers that wait for a
    token have it by then. What a hook raises is logged and harms nobody. A slow one holds up the
    thread that tells it, and is told afterwards what happened meanwhile. In a forked child it goes
    on as it is: a lock of its own that another thread holds at the fork stays locked there.
    """

    def __call__(self, event: TokenEvent, /) -> None:
        """Take note of *event*: quickly, and with a timeout on whatever it waits for."""
        ...
