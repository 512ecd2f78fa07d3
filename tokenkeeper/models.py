"""The two values that travel through Tokenkeeper: a client's registration and a token."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, overload

from tokenkeeper._support.checks import (
    checked_endpoint,
    checked_parameters,
    checked_text,
    one_scope,
    shown_url,
)
from tokenkeeper._support.frozen import NOTHING, FrozenMapping
from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = [
    "DEFAULT_BUFFER_SECONDS",
    "Health",
    "OAuth2Config",
    "OAuth2Token",
    "ProviderHealth",
    "ReloadResult",
    "TokenInfo",
]

DEFAULT_BUFFER_SECONDS = 300.0
"""How long before its expiry a token is renewed, unless a provider says otherwise."""

_FITS_INTO_A_HEADER = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
"""RFC 6749 appendix A.12, without the outer spaces that a header would lose (RFC 9110 §5.5)."""


@dataclass(frozen=True, slots=True)
class OAuth2Token:
    """An access token as a server granted it (RFC 6749 §5.1). Immutable.

    :param access_token: the token itself, for ``Authorization: Bearer``: ASCII, printable, and
        without spaces at either side, so that it fits into a header.
    :param token_type: ``Bearer`` as a rule; see
        :class:`~tokenkeeper.GenericOAuth2Provider` about other types.
    :param expires_at: when the token expires; an aware ``datetime``, held as UTC.
    :param scope: what was granted, separated by spaces; ``None`` if the server did not say.
    :param refresh_token: what buys the next token, where the server gave one.
    :param extra: the other members of the server's answer, such as ``instance_url`` or
        ``id_token``; none by default. Held as an immutable copy: mappings stay mappings, lists
        become tuples. ``repr`` does not show it, as it may contain secrets.
    :param refresh_at: the latest moment to renew the token, where the server named one
        (``refresh_in``, ``refresh_on``); an aware ``datetime``, held as UTC. ``None``, the default,
        leaves it to the expiry.
    :raises ValueError: for an ``access_token`` that does not fit into a header, a naive
        ``expires_at`` or ``refresh_at``, or an ``extra`` that is not a mapping.

    Its times are the wall clock's, for people and for tokens of one's own making. A keeper
    decides by deadlines of its own, on a clock that no one can set back.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: datetime
    scope: str | None = None
    refresh_token: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default=NOTHING, repr=False, kw_only=True)
    refresh_at: datetime | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_access_token(self.access_token)
        object.__setattr__(self, "expires_at", _as_utc(self.expires_at, "expires_at"))
        if self.refresh_at is not None:
            object.__setattr__(self, "refresh_at", _as_utc(self.refresh_at, "refresh_at"))
        if not isinstance(self.extra, Mapping):
            raise ValueError(f"extra must be a mapping, not {type(self.extra).__name__}")
        if not isinstance(self.extra, FrozenMapping):
            extra = FrozenMapping(self.extra) if self.extra else NOTHING
            object.__setattr__(self, "extra", extra)

    @property
    def expires_on(self) -> int:
        """When the token expires, in whole seconds since the epoch, rounded down."""
        return math.floor(self.expires_at.timestamp())

    @property
    def remaining_lifetime(self) -> timedelta:
        """The time left by the wall clock; negative once the token has expired."""
        return self.expires_at - datetime.fromtimestamp(SYSTEM_CLOCK.time(), UTC)

    def is_expired(self, buffer_seconds: float = DEFAULT_BUFFER_SECONDS) -> bool:
        """Return whether at most *buffer_seconds*, by default 300, are left by the wall clock."""
        return self.remaining_lifetime.total_seconds() <= buffer_seconds


def _check_access_token(token: object) -> None:
    if not isinstance(token, str):
        raise ValueError(f"access_token must be a string, not {type(token).__name__}")
    if not token.strip():
        raise ValueError("access_token must not be empty")
    if not _FITS_INTO_A_HEADER.fullmatch(token):
        raise ValueError(
            "access_token must be printable ASCII without spaces at either side, so that it fits "
            "into a header: check where it is read from"
        )


def _as_utc(moment: object, name: str) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ValueError(
            f"{name} must be an aware datetime, for example datetime.now(UTC) + timedelta(hours=1)"
        )
    return moment.astimezone(UTC)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class OAuth2Config:
    """A client's registration with an authorization server. Immutable, checked when made.

    :param provider_name: the name that callers ask for.
    :param client_id: the client identifier (RFC 6749 §2.2).
    :param client_secret: the client password (RFC 6749 §2.3.1); ``None``, the default, for a
        client that has none (``token_endpoint_auth_method="none"``).
    :param token_url: the token endpoint: https, or http on a loopback host. Required.
    :param scope: what to ask for, as one string separated by spaces or as a list; held as the
        string, and as ``None`` where nothing is asked for.
    :param scopes: an older name for *scope*.
    :param additional_params: further parameters of the token request, such as ``audience`` or
        ``resource`` (RFC 8707; a list is sent as a repeated parameter). Values are strings,
        integers, booleans (sent as ``true`` and ``false``) and lists of these. They can't override
        the grant's own.
    :raises InvalidConfigurationError: naming the field that can't work.
    """

    provider_name: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    token_url: str = ""
    scope: str | Iterable[str] | None = None
    additional_params: Mapping[str, Any] | None = field(default=None, repr=False)
    scopes: InitVar[str | Iterable[str] | None] = field(default=None, kw_only=True)

    if TYPE_CHECKING:  # a field after one with a default can't be required, but token_url is

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
        ) -> None: ...

        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __post_init__(self, scopes: str | Iterable[str] | None) -> None:
        name = checked_text(self.provider_name, "provider_name")
        checked_text(self.client_id, "client_id", name)
        if self.client_secret is not None:
            checked_text(self.client_secret, "client_secret", name)
        checked_endpoint(self.token_url, "token_url", name)
        object.__setattr__(self, "scope", one_scope(self.scope, scopes, name))
        parameters = checked_parameters(self.additional_params, "additional_params", name)
        object.__setattr__(self, "additional_params", parameters)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(provider_name={self.provider_name!r}, "
            f"client_id={self.client_id!r}, token_url={shown_url(self.token_url)!r}, "
            f"scope={self.scope!r})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can't be pickled, and pickling is how spawned workers get this.
        parameters = dict(self.additional_params or {})
        fields = (self.client_id, self.client_secret, self.token_url, self.scope, parameters)
        return OAuth2Config, (self.provider_name, *fields)


class TokenInfo(TypedDict):
    """Diagnostics of one cached token: :meth:`TokenKeeper.get_cached_token_info`."""

    provider_name: str
    state: Literal["fresh", "renewing", "expired"]
    expires_at: str
    """ISO 8601, UTC."""
    remaining_seconds: float
    is_expired: bool
    """Whether the token is inside its buffer, or past it."""
    renews_in_seconds: float
    token_type: str
    scope: str | None
    renewals: int
    failures: int
    """Renewals that failed in a row since the last success."""
    last_error: str | None


class ProviderHealth(TypedDict):
    """The part of :class:`Health` that is about one provider."""

    status: Literal["ok", "degraded", "down", "idle"]
    state: Literal["fresh", "renewing", "expired"] | None
    remaining_seconds: float | None
    renews_in_seconds: float | None
    failures: int
    last_error: str | None
    last_failure_at: str | None
    """ISO 8601, UTC."""
    refused_by_api: NotRequired[int]
    """How many tokens in a row an API refused, while it refuses freshly granted ones."""


class Health(TypedDict):
    """Whether callers can be served: :meth:`TokenKeeper.health`."""

    status: Literal["ok", "degraded", "down", "closed"]
    """The worst of the providers'."""
    providers: dict[str, ProviderHealth]
    dropped_events: NotRequired[int]
    """How many events hooks never got, because they were too slow; left out while it is 0."""


class ReloadResult(TypedDict):
    """The names of the providers that :meth:`TokenKeeper.reload` took over."""

    added: list[str]
    changed: list[str]
    removed: list[str]
