"""Access tokens as signed JWTs (RFC 9068), and the keys that verify them (RFC 7517)."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tokenkeeper.clock import Instant

__all__ = ["JWTAccessTokens", "JWTSigner"]

SHORTEST_SECRET = 32
"""In bytes: as long as the hash (RFC 7518 §3.2)."""


@dataclass(frozen=True, kw_only=True)
class JWTAccessTokens:
    """What the JWTs contain that a :class:`LoopbackAuthorizationServer` grants.

    They have the type ``at+jwt`` and the claims ``iss``, ``sub``, ``aud``, ``exp``, ``iat``,
    ``jti``, ``client_id`` and ``scope`` (RFC 9068 §2). ``exp`` is in whole seconds, rounded up.

    :param audience: the ``aud`` of tokens whose request has no ``resource`` or ``audience``;
        "loopback-api" by default.
    :param secret: signs by HS256 with this secret of at least 32 bytes, for servers that share it.
        By default tokens are signed by RS256, and the server publishes its key under ``/jwks``.
    :param claims: further claims, which also replace those of the same name.
    :raises ValueError: if the secret is too short.
    """

    audience: str | Sequence[str] = "loopback-api"
    secret: bytes | None = field(default=None, repr=False)
    claims: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.secret is not None and len(self.secret) < SHORTEST_SECRET:
            raise ValueError(f"the secret must have at least {SHORTEST_SECRET} bytes")


class JWTSigner:
    """Signs access tokens with one key. Thread-safe."""

    def __init__(self, options: JWTAccessTokens) -> None:
        self._options = options
        self._headers = {"typ": "at+jwt"}  # RFC 9068 §2.1
        self._key: rsa.RSAPrivateKey | bytes
        if options.secret is None:
            self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            self._headers["kid"] = secrets.token_urlsafe(8)
        else:
            self._key = options.secret

    def claims(
        self,
        now: Instant,
        lifetime_seconds: float,
        *,
        issuer: str,
        client_id: str,
        scope: str,
        audience: Sequence[str],
    ) -> dict[str, Any]:
        """Return the claims of a new token (RFC 9068 §2.2).

        :param audience: what the client asked for; if nothing, the default is used.
        """
        asked = audience[0] if len(audience) == 1 else list(audience)
        default = self._options.audience
        claims = {
            "iss": issuer,
            "sub": client_id,
            "aud": asked or (default if isinstance(default, str) else list(default)),
            # Rounded up: a client that uses a token for all of expires_in is never refused.
            "exp": math.ceil(now.wall + lifetime_seconds),
            "iat": int(now.wall),
            "jti": secrets.token_urlsafe(12),
            "client_id": client_id,
        }
        if scope:
            claims["scope"] = scope
        return {**claims, **self._options.claims}

    def sign(self, claims: dict[str, Any]) -> str:
        """Return the token with these claims."""
        algorithm = "HS256" if isinstance(self._key, bytes) else "RS256"
        return jwt.encode(claims, self._key, algorithm, headers=self._headers)

    def key_set(self) -> dict[str, Any] | None:
        """Return the public keys (RFC 7517 §5); ``None`` if the key is a shared secret."""
        if isinstance(self._key, bytes):
            return None
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        named = {"kid": self._headers["kid"], "use": "sig", "alg": "RS256"}
        return {"keys": [{**key, **named}]}
