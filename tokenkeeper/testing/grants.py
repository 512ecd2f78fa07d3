"""The state of the loopback authorization server: its clients and the tokens it granted."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from tokenkeeper.clock import Clock, instant

if TYPE_CHECKING:
    from tokenkeeper.testing.jwts import JWTSigner  # loads cryptography

__all__ = ["GRANT_TYPES", "Grants", "RefusedGrantError"]

GRANT_TYPES = ("client_credentials", "refresh_token")


class RefusedGrantError(Exception):
    """A token request that is answered by an error (RFC 6749 §5.2)."""

    def __init__(self, error: str, description: str, *, challenge: bool = False) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.challenge = challenge


@dataclass(frozen=True, slots=True)
class _Client:
    client_id: str
    client_secret: str = field(repr=False)
    scopes: tuple[str, ...]


@dataclass(slots=True)
class _Family:
    """One grant, with its successive refresh tokens and their access tokens."""

    client_id: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...] = ()
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class _Granted:
    ends_at: float
    scope: str
    family: _Family
    claims: Mapping[str, Any]  # of a JWT


class Grants:
    """Grants tokens to registered clients, and checks them. Thread-safe.

    It counts on the monotonic clock: a token expires its lifetime after it was granted, even if the
    wall clock was set meanwhile.

    :param signer: makes access tokens that are JWTs; without one they are opaque.
    """

    def __init__(self, clock: Clock, signer: JWTSigner | None = None) -> None:
        self._clock = clock
        self._signer = signer
        self._lock = threading.Lock()  # guards all that follows
        self._clients: dict[str, _Client] = {}
        self._granted: dict[str, _Granted] = {}  # by access token; dead ones are remembered
        self._refresh: dict[str, _Family] = {}  # by refresh token that can be used
        self._used: dict[str, _Family] = {}  # by refresh token that was used

    def register(self, client_id: str, client_secret: str, scopes: Iterable[str]) -> None:
        """Register a client, or replace one."""
        with self._lock:
            self._clients[client_id] = _Client(client_id, client_secret, tuple(scopes))

    @property
    def scopes(self) -> list[str]:
        """The scopes of all clients."""
        with self._lock:
            return sorted({scope for each in self._clients.values() for scope in each.scopes})

    def authenticate(self, authorization: str | None, form: Mapping[str, str]) -> str:
        """Return the ``client_id`` of the client that sent this (RFC 6749 §2.3.1).

        :raises RefusedGrantError: if the client is unknown or its secret is wrong.
        """
        if authorization is not None:
            if "client_secret" in form:
                problem = "the client authenticates in more than one way"
                raise RefusedGrantError("invalid_request", problem)
            client_id, secret = _basic(authorization)
        else:
            client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
        with self._lock:
            client = self._clients.get(client_id)
        known = client.client_secret if client else ""
        if client is None or not hmac.compare_digest(known.encode(), secret.encode()):
            raise RefusedGrantError(
                "invalid_client",
                "the client is unknown, or its secret is wrong",
                challenge=authorization is not None,
            )
        return client_id

    def grant(
        self,
        client_id: str,
        form: Mapping[str, str],
        lifetime_seconds: float,
        *,
        refresh: bool,
        issuer: str,
    ) -> dict[str, Any]:
        """Return the answer to an authenticated token request (RFC 6749 §5.1).

        :param refresh: whether to grant a refresh token with the access token.
        :param issuer: the server's URL.
        :raises RefusedGrantError: if the request can't be granted.
        """
        with self._lock:
            family, scope = self._granted_to(client_id, form)
        asked = (form.get("resource", "").split() + form.get("audience", "").split()) or [
            *family.audience
        ]
        # Outside the lock: a signature takes a millisecond.
        access_token, granted = self._access_token(lifetime_seconds, family, scope, asked, issuer)
        whole = float(lifetime_seconds).is_integer()
        answer: dict[str, Any] = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": int(lifetime_seconds) if whole else lifetime_seconds,
        }
        if scope:
            answer["scope"] = scope
        with self._lock:
            family.audience = tuple(asked)
            self._granted[access_token] = granted
            if refresh:
                answer["refresh_token"] = secrets.token_urlsafe(24)
                self._refresh[answer["refresh_token"]] = family
        return answer

    def _granted_to(self, client_id: str, form: Mapping[str, str]) -> tuple[_Family, str]:
        """Return the grant that the client asks for, and its scope; use up a refresh token.

        Called with the lock held.
        """
        grant_type = form.get("grant_type")
        if grant_type == "client_credentials":
            family = _Family(client_id, self._clients[client_id].scopes)
        elif grant_type == "refresh_token":
            family = self._family_of(client_id, form)
        elif grant_type is None:
            raise RefusedGrantError("invalid_request", "grant_type is missing")
        else:
            raise RefusedGrantError(
                "unsupported_grant_type", "this server does not know the grant type"
            )
        scope = _narrowed(form.get("scope"), family.scopes)
        if grant_type == "refresh_token":
            self._used[form["refresh_token"]] = self._refresh.pop(form["refresh_token"])
        else:
            family.scopes = tuple(scope.split())
        return family, scope

    def _access_token(
        self,
        lifetime_seconds: float,
        family: _Family,
        scope: str,
        audience: list[str],
        issuer: str,
    ) -> tuple[str, _Granted]:
        now = instant(self._clock)
        if self._signer is None:
            opaque = _Granted(now.monotonic + lifetime_seconds, scope, family, {})
            return secrets.token_urlsafe(24), opaque
        claims = self._signer.claims(
            now,
            lifetime_seconds,
            issuer=issuer,
            client_id=family.client_id,
            scope=scope,
            audience=audience,
        )
        # The server ends the token exactly when its text does.
        granted = _Granted(claims["exp"] - now.offset, scope, family, claims)
        return self._signer.sign(claims), granted

    def _family_of(self, client_id: str, form: Mapping[str, str]) -> _Family:
        """Return the family of the refresh token; its second use revokes the family.

        Called with the lock held.
        """
        token = form.get("refresh_token")
        if not token:
            raise RefusedGrantError("invalid_request", "refresh_token is missing")
        used = self._used.get(token)
        if used is not None:
            used.revoked = True
        family = self._refresh.get(token)
        if family is None or family.revoked or family.client_id != client_id:
            raise RefusedGrantError(
                "invalid_grant", "the refresh token is invalid, or was used before"
            )
        return family

    def problem(self, access_token: str) -> str | None:
        """Return the problem of *access_token*: "unknown", "expired" or "revoked"; or ``None``."""
        with self._lock:
            granted = self._granted.get(access_token)
        if granted is None:
            return "unknown"
        if granted.family.revoked:
            return "revoked"
        return "expired" if self._clock.monotonic() >= granted.ends_at else None

    def describe(self, access_token: str) -> dict[str, Any]:
        """Return the introspection response for *access_token* (RFC 7662 §2.2)."""
        if self.problem(access_token) is not None:
            return {"active": False}
        with self._lock:
            granted = self._granted[access_token]
        now = instant(self._clock)
        return {
            "active": True,
            "client_id": granted.family.client_id,
            "scope": granted.scope,
            "token_type": "Bearer",
            "exp": int(now.wall + granted.ends_at - now.monotonic),
            **granted.claims,
        }

    def revoke(self, token: str, client_id: str | None = None) -> bool:
        """Revoke the grant of an access or refresh token; return whether it was known.

        :param client_id: the client that must have been granted it; by default any.
        """
        with self._lock:
            granted = self._granted.get(token)
            family = granted.family if granted else self._refresh.get(token)
            if family is None or client_id not in (None, family.client_id):
                return False
            family.revoked = True
        return True

    def revoke_all(self) -> None:
        """Revoke all tokens granted so far."""
        with self._lock:
            for granted in self._granted.values():
                granted.family.revoked = True


def _basic(authorization: str) -> tuple[str, str]:
    """Return id and secret from an ``Authorization`` header, form-decoded."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    client_id, colon, secret = pair.partition(":")
    if scheme.lower() != "basic" or not colon:
        problem = "the Authorization header can't be read"
        raise RefusedGrantError("invalid_client", problem, challenge=True)
    return unquote_plus(client_id), unquote_plus(secret)


def _narrowed(asked: str | None, allowed: Iterable[str]) -> str:
    """Return the scope *asked* for, or all that is *allowed* if none was."""
    scopes = list(allowed)
    wanted = asked.split() if asked else scopes
    if not set(wanted) <= set(scopes):
        raise RefusedGrantError(
            "invalid_scope", "the client asked for a scope that it may not have"
        )
    return " ".join(wanted)
