"""Events: what happened to a token. They contain no secrets.

.. code-block:: text

    TokenEvent
    ├── TokenGranted           a token was granted
    │   ├── TokenAcquired      ... for the first time
    │   └── TokenRenewed       ... to replace another
    ├── TokenDenied            no token was granted
    │   ├── AcquisitionFailed  ... and there was none before
    │   └── RenewalFailed      ... to replace another
    ├── ServedStale            a renewal failed; callers continue to get the current token
    ├── TokenAdopted           a token that another process of the fleet requested was taken over
    ├── ClaimTakenOver         a process claimed a token request, and did not finish it
    ├── RecordReplaced         an unreadable record of the store was replaced
    ├── ClocksDisagree         the clocks of the fleet differ
    ├── StoreUnavailable       the store can't be used; the keeper goes on without it
    ├── StoreRecovered         the store can be used again
    ├── CooledDown             there is no valid token, and none is requested for a while
    ├── TokenRefused           an API refused a token, although it had not expired
    ├── TokenRejected          an API refuses freshly granted tokens; a pause begins
    ├── SignInEvent            a person's sign-in
    │   ├── SignInStarted      ... began
    │   ├── SignInCompleted    ... brought a refresh token, which is stored
    │   └── SignInFailed       ... was declined, took too long, or brought no token
    ├── TokenCleared           a token was removed from the cache
    ├── TokenRevoked           a token was revoked at its server, because that was asked for
    └── ProviderRemoved        a provider was removed from its keeper
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

__all__ = [
    "AcquisitionFailed",
    "ClaimTakenOver",
    "ClocksDisagree",
    "CooledDown",
    "EventHook",
    "ProviderRemoved",
    "RecordReplaced",
    "RenewalFailed",
    "ServedStale",
    "SignInCompleted",
    "SignInEvent",
    "SignInFailed",
    "SignInStarted",
    "StoreRecovered",
    "StoreUnavailable",
    "TokenAcquired",
    "TokenAdopted",
    "TokenCleared",
    "TokenDenied",
    "TokenEvent",
    "TokenGranted",
    "TokenRefused",
    "TokenRejected",
    "TokenRenewed",
    "TokenRevoked",
]

# A class without its own fields inherits all that dataclass() makes. Making it again for each
# would take longer than the import of any other module.


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """The base class of all events.

    :ivar provider_name: the name of the token's provider.
    :ivar occurred_at: when it happened: an aware ``datetime`` in UTC, by the wall clock.
    :ivar token_name: the name of the token, which is the provider's unless a caller chose its
        parameters. It may contain personal data, so ``repr`` and log records do not have it, and it
        should not become a label of a metric.
    """

    provider_name: str
    occurred_at: datetime
    token_name: str = field(default="", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if not self.token_name:
            object.__setattr__(self, "token_name", self.provider_name)


@dataclass(frozen=True, slots=True)
class TokenGranted(TokenEvent):
    """A token was granted.

    :ivar attempts: how many requests it took.
    :ivar duration_seconds: the time from the first request to the last response, including waits.
    :ivar remaining_seconds: the time until the token expires.
    :ivar store_seconds: how much of the duration was spent in the store; 0 without one.
    """

    attempts: int
    duration_seconds: float
    remaining_seconds: float
    store_seconds: float = field(default=0.0, kw_only=True)


class TokenAcquired(TokenGranted):
    """A first token was granted."""

    __slots__ = ()


class TokenRenewed(TokenGranted):
    """A token was granted to replace another."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TokenDenied(TokenEvent):
    """No token was granted.

    :ivar attempts: how many requests were made.
    :ivar duration_seconds: the time from the first request to the last failure, including waits.
    :ivar remaining_seconds: the time until the current token expires; 0 if there is no valid one.
    :ivar error: the server's error code (RFC 6749 §5.2); ``None`` if it did not send one.
    :ivar status_code: the HTTP status; ``None`` if there was no response.
    :ivar reason: the error's message.
    :ivar network_reason: why there was no response, such as ``dns``, ``tls``, ``timeout`` or
        ``connection_refused``; ``None`` if there was one.
    :ivar store_seconds: how much of the duration was spent in the store; 0 without one.
    :ivar needs_sign_in: whether a person has to sign in before there can be a token
        (:class:`~tokenkeeper.exceptions.AuthorizationRequiredError`).
    """

    attempts: int
    duration_seconds: float
    remaining_seconds: float
    error: str | None
    status_code: int | None
    reason: str
    network_reason: str | None = None
    store_seconds: float = field(default=0.0, kw_only=True)
    needs_sign_in: bool = field(default=False, kw_only=True)


class AcquisitionFailed(TokenDenied):
    """No token was granted, and there was none before."""

    __slots__ = ()


class RenewalFailed(TokenDenied):
    """A token could not be renewed."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ServedStale(TokenEvent):
    """A renewal failed; callers continue to get the current token.

    :ivar remaining_seconds: the time until that token expires.
    """

    remaining_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAdopted(TokenEvent):
    """A token that another process of the fleet requested was taken over from the store.

    :ivar age_seconds: how long ago it was requested.
    :ivar remaining_seconds: the time until it expires.
    :ivar generation: its number in the store, which grows with each token.
    :ivar granted_to: the process that requested it, as ``host:pid``.
    :ivar attempts: how many requests this process made itself before it took the token over:
        usually 0.
    :ivar store_seconds: the time that was spent in the store.
    """

    age_seconds: float
    remaining_seconds: float
    generation: int
    granted_to: str
    attempts: int = 0
    store_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTakenOver(TokenEvent):
    """Another process claimed a token request and did not finish it; this one makes it instead.

    That process was killed or paused, lost its connection to the store, or its server is slow.

    :ivar claim_age_seconds: how long it had held the claim.
    :ivar intent: what it was about to do, with its name, as ``host:pid``.
    """

    claim_age_seconds: float
    intent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordReplaced(TokenEvent):
    """A record of the store could not be read, and was replaced by a new token.

    :ivar reason: why it could not be read, such as a key that the key file does not have.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClocksDisagree(TokenEvent):
    """The wall clocks of two hosts, or that of a host and the store's, differ by seconds.

    No expired token is served, since the older of two ages counts; but tokens are renewed more
    often than needed. Reported at most every ten minutes by each process.

    :ivar difference_seconds: how far this host's clock is ahead; negative if it is behind.
    """

    difference_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreUnavailable(TokenEvent):
    """The store can't be used. Reported once, for the token that met it first.

    :ivar store: the store, as a URL without a secret.
    :ivar reason: what happened, and what to do.
    """

    store: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRecovered(TokenEvent):
    """The store can be used again.

    :ivar store: the store, as a URL without a secret.
    :ivar unavailable_seconds: how long it could not be used.
    """

    store: str
    unavailable_seconds: float


@dataclass(frozen=True, slots=True)
class CooledDown(TokenEvent):
    """There is no valid token. For a while callers get the last error, without a new request.

    :ivar cooldown_seconds: how long the cooldown lasts.
    """

    cooldown_seconds: float


class TokenRefused(TokenEvent):
    """An API refused a token, although it had not expired."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TokenRejected(TokenEvent):
    """An API refuses freshly granted tokens. For a while its refusals cause no token request.

    Reported once for each such pause, at its first refusal. Callers of ``renew_refused`` get
    :class:`~tokenkeeper.exceptions.TokenRejectedError`; callers of ``get_token`` get the token.

    :ivar tokens: how many tokens were refused in a row.
    :ivar pause_seconds: how long refusals cause no token request.
    """

    tokens: int
    pause_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInEvent(TokenEvent):
    """What happened to a person's sign-in. The token's name may have an account.

    :ivar grant_type: how it was begun, such as ``authorization_code``.
    """

    grant_type: str


class SignInStarted(SignInEvent):
    """A sign-in began: a person has a URL, or is being asked."""

    __slots__ = ()


class SignInCompleted(SignInEvent):
    """A sign-in was completed, and what it brought is stored."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInFailed(SignInEvent):
    """A sign-in could not be begun, was declined, took too long, or brought no token.

    An answer that belongs to another sign-in is not a failure of this one.

    :ivar error: the server's error code, such as ``access_denied``; ``None`` if it did not send
        one.
    :ivar reason: the error's message.
    """

    error: str | None
    reason: str


class TokenCleared(TokenEvent):
    """A token was removed from the cache.

    It was cleared, its provider was removed, it made room for another (``max_tokens``), or it
    expired while nothing used it.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRevoked(TokenEvent):
    """A token was revoked at its server, by ``revoke()``. It follows what was cleared with it.

    :ivar kind: what was revoked: ``refresh_token`` or ``access_token``.
    :ivar forgotten: how many access tokens were forgotten with it.
    """

    kind: str
    forgotten: int


class ProviderRemoved(TokenEvent):
    """A provider was removed, by ``remove_provider()`` or ``reload()``, and its token with it.

    It follows the :class:`TokenCleared` of its token. No event of that provider follows it, unless
    the name is registered again. ``close()`` does not report removals.
    """

    __slots__ = ()


class EventHook(Protocol):
    """A callable that receives each event. A plain function with one parameter is enough.

    It is called soon after each event, on a thread of the keeper, in the context
    (:mod:`contextvars`) of the caller that caused the event. A keeper calls it with one event at a
    time, in the order in which they happened; several keepers that share a hook may call it
    concurrently. Callers that wait for a token have it by then. An exception from a hook is logged
    and has no other effect.

    A slow hook delays no caller, no event loop, no renewal and no other hook. Later events are
    queued for it, at most 1,000; beyond that the oldest are dropped, which is logged and counted in
    ``health()["dropped_events"]``. ``close()`` waits one second for queued events.

    A keeper without background threads (``background=False``, or a host that does not start any)
    calls its hooks on the thread that reports the event, after the caller's result is decided.
    There a slow hook delays that caller, even beyond its ``timeout``.

    In a forked child a hook continues to be called, without the events that were pending at the
    fork. If another thread held one of the hook's own locks at the fork, that lock stays locked in
    the child.
    """

    def __call__(self, event: TokenEvent, /) -> None:
        """Process *event*. Set a timeout on everything that this waits for."""
        ...
