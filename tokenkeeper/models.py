"""The two values that travel through Tokenkeeper: a client's registration and a token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tokenkeeper.checks import (
    CONTROL,
    checked_endpoint,
    checked_parameters,
    checked_scope,
    checked_text,
)
from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = [
    "DEFAULT_BUFFER_SECONDS",
    "OAuth2Config",
    "OAuth2Token",
]

DEFAULT_BUFFER_SECONDS = 300.0
"""How long before its end a token is renewed, unless a provider says otherwise."""


@dataclass(frozen=True, slots=True)
class OAuth2Token:
    """An access token as a server granted it (RFC 6749 §5.1). Immutable.

    :param access_token: what goes behind ``Authorization: Bearer``.
    :param token_type: as the server sent it, usually ``Bearer``.
    :param expires_at: when the token ends; an aware ``datetime``, held as UTC.
    :param scope: what was granted, separated by spaces; ``None`` if the server did not say.
    :param refresh_token: what buys the next token, where the server gave one.
    :raises ValueError: for an empty or unprintable ``access_token`` or a naive ``expires_at``.

    The time it gives is the wall clock's, for people and for tokens of one's own making. A keeper
    decides by deadlines of its own, on a clock that no one can set back.
    """

    access_token: str = field(repr=False)
    token_type: str
    expires_at: datetime
    scope: str | None = None
    refresh_token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.access_token, str) or not self.access_token.strip():
            raise ValueError("access_token must be a string that is not empty")
        if CONTROL.search(self.access_token):
            raise ValueError("access_token must not contain control characters")
        if not isinstance(self.expires_at, datetime) or self.expires_at.tzinfo is None:
            raise ValueError(
                "expires_at must be an aware datetime, for example "
                "datetime.now(UTC) + timedelta(hours=1)"
            )
        object.__setattr__(self, "expires_at", self.expires_at.astimezone(UTC))

    @property
    def remaining_lifetime(self) -> timedelta:
        """What is left by the wall clock; negative once the token has ended."""
        return self.expires_at - datetime.fromtimestamp(SYSTEM_CLOCK.time(), UTC)

    def is_expired(self, buffer_seconds: float = DEFAULT_BUFFER_SECONDS) -> bool:
        """Say whether at most *buffer_seconds*, by default 300, are left by the wall clock."""
        return self.remaining_lifetime.total_seconds() <= buffer_seconds


@dataclass(frozen=True)
class OAuth2Config:
    """A client's registration with an authorization server. Immutable, checked when made.

    :param provider_name: the name that callers ask for.
    :param client_id: the client identifier (RFC 6749 §2.2).
    :param client_secret: the client password (RFC 6749 §2.3.1).
    :param token_url: the token endpoint: https, or http on a loopback host.
    :param scope: what to ask for, as one string separated by spaces or as a list; held as the
        string, and as ``None`` where nothing is asked for.
    :param additional_params: further parameters of the token request, such as ``audience`` or
        ``resource`` (RFC 8707; a list is sent as a repeated parameter). They can't override the
        grant's own.
    :raises InvalidConfigurationError: naming the field that can't work.
    """

    provider_name: str
    client_id: str
    client_secret: str = field(repr=False)
    token_url: str
    scope: str | Iterable[str] | None = None
    additional_params: Mapping[str, Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        name = checked_text(self.provider_name, "provider_name")
        checked_text(self.client_id, "client_id", name)
        checked_text(self.client_secret, "client_secret", name)
        checked_endpoint(self.token_url, "token_url", name)
        object.__setattr__(self, "scope", checked_scope(self.scope, "scope", name))
        parameters = checked_parameters(self.additional_params, "additional_params", name)
        object.__setattr__(self, "additional_params", parameters)

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can't be pickled, and pickling is how spawned workers get this.
        parameters = dict(self.additional_params or {})
        fields = (self.client_id, self.client_secret, self.token_url, self.scope, parameters)
        return OAuth2Config, (self.provider_name, *fields)
