"""What is inside a sealed text: a token or a failure, as JSON with a version.

Members that a newer version adds are ignored; a newer ``v`` is refused. A token carries the wall
clock's time of its request beside it, as a second witness of its age.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.stores.sealed import UnreadableError

__all__ = ["StoredFailure", "StoredToken"]

VERSION = 1


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
        """Return it as JSON."""
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
            refresh_at = found.get("refresh_at")
            token = OAuth2Token(
                access_token=found["access_token"],
                token_type=str(found["token_type"]),
                expires_at=_moment(found["expires_at"]),
                scope=_text(found.get("scope")),
                refresh_token=_text(found.get("refresh_token")),
                extra=found.get("extra", {}),
                refresh_at=None if refresh_at is None else _moment(refresh_at),
            )
            return cls(
                token=token,
                token_name=str(found["name"]),
                requested_at=float(found["requested_at"]),
                granted_to=str(found["granted_to"]),
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
            return cls(
                message=str(found["message"]),
                token_name=str(found["token_name"]),
                stands_seconds=float(found["stands_seconds"]),
                failures=int(found["failures"]),
                reported_by=str(found["reported_by"]),
                transient=bool(found["transient"]),
                error=_text(found.get("error")),
                error_description=_text(found.get("error_description")),
                status_code=_number(found.get("status_code"), int),
                retry_after=_number(found.get("retry_after"), float),
                network_reason=_text(found.get("network_reason")),
            )
        except (KeyError, TypeError, ValueError, OverflowError):
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
    if not isinstance(found, dict):
        raise UnreadableError("it is not something that Tokenkeeper wrote")
    if found.get("v") != VERSION:
        raise UnreadableError(
            f"it has the version {str(found.get('v'))[:9]!r}, which this version of Tokenkeeper "
            "does not know. Upgrade it"
        )
    return found


def _plain(value: object) -> object:
    """Return frozen members of a response as JSON can express them."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def _moment(seconds: object) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)  # type: ignore[arg-type]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object, kind: type[Any]) -> Any:
    return None if value is None else kind(value)
