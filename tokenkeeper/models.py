"""The two values that travel through Tokenkeeper: a client's registration and a token."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = [
    "DEFAULT_BUFFER_SECONDS",
    "OAuth2Config",
    "OAuth2Token",
    "checked_endpoint",
    "checked_scope",
    "checked_text",
]

DEFAULT_BUFFER_SECONDS = 300.0
"""How long before its end a token is renewed, unless a provider says otherwise."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # what os.environ makes of bytes that are no UTF-8
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3, scope-token
_GRANT_PARAMETERS = frozenset(
    {
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "grant_type",
        "refresh_token",
        "scope",
    }
)


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
        if _CONTROL.search(self.access_token):
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
        """Say whether at most *buffer_seconds* are left by the wall clock."""
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
        object.__setattr__(
            self, "additional_params", _checked_parameters(self.additional_params, name)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can't be pickled, and pickling is how spawned workers get this.
        parameters = dict(self.additional_params or {})
        fields = (self.client_id, self.client_secret, self.token_url, self.scope, parameters)
        return OAuth2Config, (self.provider_name, *fields)


def checked_text(value: object, field_name: str, provider_name: str | None = None) -> str:
    """Return *value* if it is a string with something in it and no control characters."""
    if not isinstance(value, str):
        problem = f"must be a string, not {type(value).__name__}"
    elif not value.strip():
        problem = "is empty: set it, or check the variable that it is read from"
    elif _SURROGATE.search(value):
        problem = "holds a byte that is not UTF-8: check where it is read from"
    elif _CONTROL.search(value):
        problem = "contains a control character: a line end copied along with it, perhaps"
    else:
        return value
    raise _refused(problem, field_name, provider_name)


def checked_endpoint(value: object, field_name: str, provider_name: str | None = None) -> str:
    """Return *value* if it is a URL that a secret may be sent to (RFC 6749 §3.2)."""
    url = checked_text(value, field_name, provider_name)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # whose words quote parts of the URL, where a password may be
        problem = "can't be read as a URL: check its host and port"
        raise _refused(problem, field_name, provider_name) from None
    if parts.scheme not in ("https", "http") or not host:
        problem = "must be an absolute https:// URL"
    elif any(character.isspace() or character == "\\" for character in url):
        problem = "must not contain white space or a backslash"
    elif parts.username is not None or parts.password is not None:
        problem = "must not contain credentials: they end up in logs"
    elif "#" in url:
        problem = "must not contain a fragment (RFC 6749 §3.2)"
    elif parts.scheme == "http" and not _is_loopback(host):
        problem = "must be https:// unless the host is loopback: it carries a secret"
    else:
        return url
    raise _refused(problem, field_name, provider_name)


def checked_scope(value: object, field_name: str, provider_name: str | None = None) -> str | None:
    """Return *value*, a string or an iterable of scope tokens, as RFC 6749 §3.3 writes it."""
    if value is None:
        return None
    if isinstance(value, str):
        scopes: list[object] = list(value.split(" "))
    elif isinstance(value, Iterable):
        scopes = list(value)
    else:
        problem = f"must be a string or a list of strings, not {type(value).__name__}"
        raise _refused(problem, field_name, provider_name)
    for scope in filter(None, scopes):
        if not isinstance(scope, str):
            problem = f"must hold strings, not {type(scope).__name__}"
            raise _refused(problem, field_name, provider_name)
        if not _SCOPE_TOKEN.fullmatch(scope):
            problem = f"holds a character that RFC 6749 §3.3 forbids: {scope!r}"
            raise _refused(problem, field_name, provider_name)
    return " ".join(str(scope) for scope in scopes if scope) or None


def _checked_parameters(value: object, provider_name: str) -> Mapping[str, Any]:
    if value is None:
        return MappingProxyType({})
    field_name = "additional_params"
    if not isinstance(value, Mapping):
        raise _refused("must be a mapping of names to strings", field_name, provider_name)
    parameters: dict[str, Any] = {}
    for name, content in value.items():
        if not isinstance(name, str) or not name:
            raise _refused("must have strings as names", field_name, provider_name)
        if name in _GRANT_PARAMETERS:
            problem = f"must not override the grant's own parameter {name!r}"
            raise _refused(problem, field_name, provider_name)
        if isinstance(content, str):
            parameters[name] = content
        elif isinstance(content, (list, tuple)) and all(isinstance(c, str) for c in content):
            parameters[name] = tuple(content)
        else:
            problem = f"must hold strings or lists of strings, and {name!r} does not"
            raise _refused(problem, field_name, provider_name)
    return MappingProxyType(parameters)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(problem: str, field_name: str, provider_name: str | None) -> InvalidConfigurationError:
    whose = f"provider {provider_name!r}: " if provider_name else ""
    return InvalidConfigurationError(
        f"{whose}{field_name} {problem}", provider_name=provider_name, field=field_name
    )
