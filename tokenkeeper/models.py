"""The two values that Tokenkeeper passes around: a client's registration and a token."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, overload

from tokenkeeper._support.checks import (
    checked_parameters,
    checked_text,
    one_scope,
    shown_url,
)
from tokenkeeper._support.endpoints import checked_server
from tokenkeeper._support.frozen import EMPTY, FrozenMapping
from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = [
    "DEFAULT_BUFFER_SECONDS",
    "Health",
    "HealthStatus",
    "OAuth2Config",
    "OAuth2Token",
    "ProviderHealth",
    "ReloadResult",
    "StoreHealth",
    "TokenHealth",
    "TokenInfo",
]

DEFAULT_BUFFER_SECONDS = 300.0
"""How long before its expiry a token is renewed, unless a provider sets another value."""

_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""RFC 6749 appendix A.12, without outer spaces, which a header loses (RFC 9110 §5.5)."""


@dataclass(frozen=True, slots=True)
class OAuth2Token:
    """An access token as granted by a server (RFC 6749 §5.1). Immutable.

    :param access_token: the token itself, for the ``Authorization: Bearer`` header (RFC 6750 §2.1):
        printable ASCII, without outer spaces. ``repr`` does not show it.
    :param token_type: usually ``Bearer`` (RFC 6749 §7.1);
        :class:`~tokenkeeper.GenericOAuth2Provider` describes other types.
    :param expires_at: when the token expires, as an aware ``datetime``; stored as UTC.
    :param scope: the granted scope, separated by spaces (RFC 6749 §3.3); ``None``, the default, if
        it is unknown.
    :param refresh_token: the token to request the next one with (RFC 6749 §6); ``None``, the
        default, if the server did not send one. ``repr`` does not show it.
    :param extra: the other members of the server's response, such as ``instance_url`` or
        ``id_token``; empty by default. Stored as an immutable copy: mappings stay mappings, lists
        become tuples. ``repr`` does not show it, as it may contain secrets.
    :param refresh_at: the latest time to renew the token, if the server set one (``refresh_in``,
        ``refresh_on``), as an aware ``datetime``; stored as UTC. ``None``, the default, derives it
        from the expiry.
    :raises ValueError: for an ``access_token`` that can't be sent in a header, a naive
        ``expires_at`` or ``refresh_at``, or an ``extra`` that is not a mapping.

    The properties use the wall clock; they are meant for display and for tokens that you create
    yourself. A keeper uses its own deadlines, on a clock that can't be set back.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: datetime
    scope: str | None = None
    refresh_token: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default=EMPTY, repr=False, kw_only=True)
    refresh_at: datetime | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_access_token(self.access_token)
        object.__setattr__(self, "expires_at", _as_utc(self.expires_at, "expires_at"))
        if self.refresh_at is not None:
            object.__setattr__(self, "refresh_at", _as_utc(self.refresh_at, "refresh_at"))
        if not isinstance(self.extra, Mapping):
            raise ValueError(f"extra must be a mapping, not {type(self.extra).__name__}")
        if not isinstance(self.extra, FrozenMapping):
            extra = FrozenMapping(self.extra) if self.extra else EMPTY
            object.__setattr__(self, "extra", extra)

    @property
    def expires_on(self) -> int:
        """The expiry in seconds since the epoch, rounded down."""
        return math.floor(self.expires_at.timestamp())

    @property
    def remaining_lifetime(self) -> timedelta:
        """The time until the expiry, by the wall clock; negative once the token has expired."""
        return self.expires_at - datetime.fromtimestamp(SYSTEM_CLOCK.time(), UTC)

    def is_expired(self, buffer_seconds: float = DEFAULT_BUFFER_SECONDS) -> bool:
        """Return whether the token expires within *buffer_seconds*, by the wall clock.

        :param buffer_seconds: 300 by default; 0 to ask whether the token has expired.
        """
        return self.remaining_lifetime.total_seconds() <= buffer_seconds


def _check_access_token(token: object) -> None:
    if not isinstance(token, str):
        raise ValueError(f"access_token must be a string, not {type(token).__name__}")
    if not token.strip():
        raise ValueError("access_token must not be empty")
    if not _HEADER_VALUE.fullmatch(token):
        raise ValueError(
            "access_token must be printable ASCII without outer spaces, to be sent in a header. "
            "Check where it is read from."
        )


def _as_utc(moment: object, name: str) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(
            f"{name} must be an aware datetime, such as datetime.now(UTC) + timedelta(hours=1)"
        )
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class OAuth2Config:
    """A client's registration with an authorization server. Immutable; validated when created.

    :param provider_name: the name to register the provider under, and to request tokens by.
    :param client_id: the client identifier (RFC 6749 §2.2).
    :param client_secret: the client password (RFC 6749 §2.3.1); ``None``, the default, for a
        public client (``token_endpoint_auth_method="none"``). ``repr`` does not show it.
    :param token_url: the token endpoint (RFC 6749 §3.2): an https URL, or an http one on a
        loopback host. Required unless there is an *issuer*.
    :param scope: the scope to request (RFC 6749 §3.3), as a string separated by spaces or as a
        list; stored as the string. ``None``, the default, requests none.
    :param scopes: an older name for *scope*.
    :param additional_params: further parameters of the token request, such as ``audience`` or
        ``resource`` (RFC 8707); ``None``, the default, sends none. Values are strings, integers,
        booleans (sent as ``true`` and ``false``) and lists of these (sent as a repeated parameter).
        They can't override the grant's own parameters. ``repr`` does not show them.
    :param issuer: the issuer identifier of the server, in place of *token_url*: the endpoints are
        then read from the server's metadata (RFC 8414, OpenID Connect Discovery) before the first
        request. An https URL, or an http one on a loopback host, exactly as the server spells it.
        ``None``, the default, uses *token_url*.
    :param endpoints: URLs of endpoints by their names in RFC 8414 §2, such as
        ``revocation_endpoint``. They replace those of the metadata, or add to *token_url* for a
        server without metadata. ``None``, the default, states none. ``repr`` shows them without
        their queries.
    :raises InvalidConfigurationError: naming the field that can't work.
    """

    provider_name: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    token_url: str = ""
    scope: str | Iterable[str] | None = None
    additional_params: Mapping[str, Any] | None = field(default=None, repr=False)
    scopes: InitVar[str | Iterable[str] | None] = field(default=None, kw_only=True)
    issuer: str | None = field(default=None, kw_only=True)
    endpoints: Mapping[str, str] | None = field(default=None, kw_only=True)

    if TYPE_CHECKING:  # dataclasses can't express that one of token_url and issuer is required

        @overload
        def __init__(
            self,
            provider_name: str,
            client_id: str,
            client_secret: str | None,
            token_url: str,
            scope: str | Iterable[str] | None = None,
            additional_params: Mapping[str, Any] | None = None,
            *,
            scopes: str | Iterable[str] | None = None,
            endpoints: Mapping[str, str] | None = None,
        ) -> None: ...

        @overload
        def __init__(
            self,
            provider_name: str,
            client_id: str,
            *,
            token_url: str,
            scope: str | Iterable[str] | None = None,
            additional_params: Mapping[str, Any] | None = None,
            endpoints: Mapping[str, str] | None = None,
        ) -> None: ...

        @overload
        def __init__(
            self,
            provider_name: str,
            client_id: str,
            client_secret: str | None = None,
            *,
            issuer: str,
            scope: str | Iterable[str] | None = None,
            additional_params: Mapping[str, Any] | None = None,
            scopes: str | Iterable[str] | None = None,
            endpoints: Mapping[str, str] | None = None,
        ) -> None: ...

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __post_init__(self, scopes: str | Iterable[str] | None) -> None:
        name = checked_text(self.provider_name, "provider_name")
        checked_text(self.client_id, "client_id", name)
        if self.client_secret is not None:
            checked_text(self.client_secret, "client_secret", name)
        endpoints = checked_server(self.token_url, self.issuer, self.endpoints, name)
        object.__setattr__(self, "endpoints", endpoints)
        object.__setattr__(self, "token_url", self.token_url or "")
        object.__setattr__(self, "scope", one_scope(self.scope, scopes, name))
        parameters = checked_parameters(self.additional_params, "additional_params", name)
        object.__setattr__(self, "additional_params", parameters)

    def __repr__(self) -> str:
        server = f"token_url={shown_url(self.token_url)!r}"
        if self.issuer is not None:
            server = f"issuer={self.issuer!r}"
        if self.endpoints:
            shown = {name: shown_url(url) for name, url in self.endpoints.items()}
            server += f", endpoints={shown}"
        return (
            f"{type(self).__name__}(provider_name={self.provider_name!r}, "
            f"client_id={self.client_id!r}, {server}, scope={self.scope!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can't be pickled, and spawned workers receive this object by pickling.
        parameters = dict(self.additional_params or {})
        fields = (self.client_id, self.client_secret, self.token_url, self.scope, parameters)
        kind: Any = OAuth2Config
        if self.issuer is not None or self.endpoints:
            kind = partial(OAuth2Config, issuer=self.issuer, endpoints=self.endpoints)
        return kind, (self.provider_name, *fields)


class TokenInfo(TypedDict):
    """Diagnostics of one cached token, from :meth:`TokenKeeper.get_cached_token_info`."""

    provider_name: str
    """The name of the token's provider."""
    token_name: str
    """The name of the token: that of its provider, unless a caller chose its parameters."""
    state: Literal["fresh", "renewing", "expired"]
    """``fresh``, ``renewing`` (inside its buffer, but still served) or ``expired`` (not served)."""
    expires_at: str
    """When the token expires, according to the server: ISO 8601, UTC."""
    remaining_seconds: float
    """The time until the expiry; 0 once it has passed, or an API has refused the token."""
    is_expired: bool
    """Whether the token is inside its buffer, or past it."""
    renews_in_seconds: float
    """The time until its renewal in the background; 0 if that is due."""
    token_type: str
    """The type of the token, usually ``Bearer`` (RFC 6749 §7.1)."""
    scope: str | None
    """The granted scope, separated by spaces; ``None`` if it is unknown."""
    renewals: int
    """How often the token was renewed since the first one was acquired."""
    generation: int
    """The number of the token in the store, which grows with each; 0 if it was never there."""
    granted_to: str | None
    """The process of the fleet that requested the token, as ``host:pid``; ``None`` if it was this
    one."""
    failures: int
    """How many renewals failed in a row since the last success."""
    last_error: str | None
    """The message of the last of these failures; ``None`` if there was none."""


HealthStatus = Literal["ok", "degraded", "down", "idle"]
"""See :class:`TokenHealth`."""


class TokenHealth(TypedDict):
    """The state of one token in :class:`Health`."""

    status: HealthStatus
    """``ok``, ``degraded`` (the token is valid, but renewals fail or an API refuses new tokens),
    ``down`` (no valid token, and the last request failed) or ``idle`` (no valid token, and no
    request has failed)."""
    state: Literal["fresh", "renewing", "expired"] | None
    """As in :class:`TokenInfo`; ``None`` if no token is cached."""
    remaining_seconds: float | None
    """As in :class:`TokenInfo`; ``None`` if no token is cached."""
    renews_in_seconds: float | None
    """As in :class:`TokenInfo`; ``None`` if no token is cached."""
    failures: int
    """How many acquisitions and renewals failed in a row since the last success."""
    last_error: str | None
    """The message of the last failure, or of the refusal by an API; ``None`` if there is none."""
    last_failure_at: str | None
    """When the last failure occurred: ISO 8601, UTC; ``None`` if there was none."""
    refused_by_api: NotRequired[int]
    """How many tokens in a row an API refused; only present while it refuses newly granted ones."""


class ProviderHealth(TokenHealth):
    """The state of one provider in :class:`Health`: that of its registration's own token.

    Its ``status`` is that of all its tokens together: ``degraded`` if they differ. A token for an
    account, a subject or a tenant makes it ``degraded`` at worst: one customer who withdrew consent
    must not take a service out of its load balancer.
    """

    tokens: NotRequired[dict[str, TokenHealth]]
    """The state of each token whose parameters a caller chose, by name. A name may contain personal
    data. Only present if there are any."""


class StoreHealth(TypedDict):
    """Whether the store can be used, in :class:`Health`."""

    status: Literal["ok", "unavailable"]
    """``ok``, or ``unavailable``: the last operation failed. Tokens are served and renewed without
    the store meanwhile, as far as that is safe."""
    store: str
    """The store, as a URL without a secret."""
    last_error: str | None
    """Why the store can't be used; ``None`` if it can."""
    unavailable_seconds: float
    """How long it could not be used; 0 if it can."""


class Health(TypedDict):
    """Whether callers can be served, from :meth:`TokenKeeper.health`."""

    status: Literal["ok", "degraded", "down", "closed"]
    """The worst status of all providers; ``closed`` after ``close()``."""
    providers: dict[str, ProviderHealth]
    """The state of each provider, by name."""
    dropped_events: NotRequired[int]
    """How many events were dropped because hooks were too slow; only present if there are any."""
    store: NotRequired[StoreHealth]
    """Whether the store can be used; only present if the keeper has one."""


class ReloadResult(TypedDict):
    """The providers that :meth:`TokenKeeper.reload` added, changed and removed, by name."""

    added: list[str]
    changed: list[str]
    removed: list[str]
