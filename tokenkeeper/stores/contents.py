"""What is inside a sealed text: a token or a failure, as JSON with a version.

Members that a newer version adds are ignored; a newer ``v`` is refused. A token carries the wall
clock's time of its request beside it, as a second witness of its age, and the generated key that it
is bound to (RFC 9449), without which no other process could use it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.checks import checked_switch
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.stores.sealed import UnreadableError

if TYPE_CHECKING:
    from tokenkeeper.oauth.dpop import DPoPKey, ForeignKey

__all__ = ["StoredFailure", "StoredToken"]

VERSION = 1

_JSON = (str, bool, int, float, list, tuple, Mapping, type(None))


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as the fleet shares it.

    :ivar token: the token.
    :ivar token_name: its name. It may contain personal data.
    :ivar requested_at: when its request was sent, by the wall clock of the process that sent it, in
        seconds since the epoch.
    :ivar granted_to: the process that requested it, as ``host:pid``.
    """

    token: OAuth2Token
    token_name: str = field(repr=False)
    requested_at: float
    granted_to: str

    def to_bytes(self) -> bytes:
        """Return it as JSON, without members of ``extra`` that JSON can't express."""
        token = self.token
        content = {
            "v": VERSION,
            "name": self.token_name,
            "requested_at": self.requested_at,
            "granted_to": self.granted_to,
            "access_token": token.access_token,
            "token_type": token.token_type,
            "expires_at": token.expires_at.timestamp(),
            "scope": token.scope,
            "refresh_token": token.refresh_token,
            "refresh_at": token.refresh_at.timestamp() if token.refresh_at else None,
            "extra": _plain(token.extra),
            **_key_members(token),
        }
        given = {name: value for name, value in content.items() if value not in (None, {})}
        return json.dumps(given, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> StoredToken:
        """Return what :meth:`to_bytes` wrote.

        :raises UnreadableError: for anything else.
        """
        found = _members(content)
        try:
            refresh_at = _optional_number(found, "refresh_at")
            token = OAuth2Token(
                access_token=found["access_token"],
                token_type=_text(found, "token_type"),
                expires_at=_moment(_number(found, "expires_at")),
                scope=_optional_text(found, "scope"),
                refresh_token=_optional_text(found, "refresh_token"),
                extra=found.get("extra", {}),
                refresh_at=None if refresh_at is None else _moment(refresh_at),
                dpop_key=_key_in(found),
            )
            return cls(
                token=token,
                token_name=_text(found, "name"),
                requested_at=_number(found, "requested_at"),
                granted_to=_text(found, "granted_to"),
            )
        except (KeyError, TypeError, ValueError, OverflowError, OSError, OAuth2Error):
            raise UnreadableError("it is not a token of this version of Tokenkeeper") from None


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """Why a request of the fleet failed, for the processes that did not make it.

    :ivar message: the error's message, without a secret.
    :ivar token_name: the name of the token. It may contain personal data.
    :ivar stands_seconds: for how long it spares other processes a request.
    :ivar failures: how many requests failed in a row, by whomever.
    :ivar reported_by: the process that made the request, as ``host:pid``.
    """

    message: str
    token_name: str = field(repr=False)
    stands_seconds: float
    failures: int
    reported_by: str
    transient: bool
    error: str | None = None
    error_description: str | None = None
    status_code: int | None = None
    retry_after: float | None = None
    network_reason: str | None = None

    @classmethod
    def of(
        cls,
        error: TokenAcquisitionError,
        *,
        token_name: str,
        stands_seconds: float,
        failures: int,
        reported_by: str,
    ) -> StoredFailure:
        """Return what the fleet learns of *error*."""
        return cls(
            message=str(error),
            token_name=token_name,
            stands_seconds=stands_seconds,
            failures=failures,
            reported_by=reported_by,
            transient=error.transient,
            error=error.error,
            error_description=error.error_description,
            status_code=error.status_code,
            retry_after=error.retry_after,
            network_reason=error.network_reason,
        )

    def to_bytes(self) -> bytes:
        """Return it as JSON."""
        members = {name: getattr(self, name) for name in self.__slots__}
        given = {name: value for name, value in members.items() if value is not None}
        return json.dumps({"v": VERSION, **given}, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> StoredFailure:
        """Return what :meth:`to_bytes` wrote.

        :raises UnreadableError: for anything else.
        """
        found = _members(content)
        try:
            status_code = _optional_number(found, "status_code")
            return cls(
                message=_text(found, "message"),
                token_name=_text(found, "token_name"),
                stands_seconds=_number(found, "stands_seconds"),
                failures=int(_number(found, "failures")),
                reported_by=_text(found, "reported_by"),
                transient=checked_switch(found["transient"], "transient"),
                error=_optional_text(found, "error"),
                error_description=_optional_text(found, "error_description"),
                status_code=None if status_code is None else int(status_code),
                retry_after=_optional_number(found, "retry_after"),
                network_reason=_optional_text(found, "network_reason"),
            )
        except (KeyError, ValueError, OverflowError, OAuth2Error):
            raise UnreadableError("it is not a failure of this version of Tokenkeeper") from None

    def as_error(self, provider_name: str, age_seconds: float) -> TokenAcquisitionError:
        """Return the error for a process that asked for the same token *age_seconds* later."""
        retry_after = self.retry_after
        return TokenAcquisitionError(
            self.message,
            provider_name=provider_name,
            error=self.error,
            error_description=self.error_description,
            status_code=self.status_code,
            retry_after=None if retry_after is None else max(0.0, retry_after - age_seconds),
            transient=self.transient,
            network_reason=self.network_reason,
        )


def _members(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise UnreadableError("it is not something that Tokenkeeper wrote") from None
    version = found.get("v") if isinstance(found, dict) else None
    if type(version) is not int:
        raise UnreadableError("it is not something that Tokenkeeper wrote")
    if version != VERSION:
        raise UnreadableError(
            f"it has the version {str(version)[:9]}, which this version of Tokenkeeper does not "
            "know. Upgrade it"
        )
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: object) -> Any:
    """Return *value*, a member of a response, without what JSON can't express."""
    if isinstance(value, Mapping):
        return {
            name: _plain(each)
            for name, each in value.items()
            if isinstance(name, str) and isinstance(each, _JSON)
        }
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value if isinstance(each, _JSON)]
    return value


def _key_members(token: OAuth2Token) -> dict[str, str | None]:
    """Return the key that *token* is bound to, or its thumbprint if it has to be there already."""
    key = token.dpop_key
    return {} if key is None else {"dpop_jkt": key.thumbprint, "dpop_key": key.exported()}


def _key_in(found: Mapping[str, Any]) -> DPoPKey | ForeignKey | None:
    """Return the key that a stored token is bound to; ``None`` for a bearer token."""
    thumbprint = _optional_text(found, "dpop_jkt")
    if thumbprint is None:
        return None
    with forks_wait():  # only where there is such a token
        from tokenkeeper.oauth.dpop import key_with, restored_key

    pem = _optional_text(found, "dpop_key")
    return key_with(thumbprint) if pem is None else restored_key(pem, thumbprint)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _text(found: Mapping[str, Any], name: str) -> str:
    """Return a member that must be a text.

    :raises ValueError: if it is not.
    """
    value = found[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value


def _optional_text(found: Mapping[str, Any], name: str) -> str | None:
    return _text(found, name) if name in found else None


def _number(found: Mapping[str, Any], name: str) -> float:
    """Return a member that must be a finite number.

    :raises ValueError: if it is not.
    """
    value = found[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(name)
    return float(value)


def _optional_number(found: Mapping[str, Any], name: str) -> float | None:
    return _number(found, name) if name in found else None
