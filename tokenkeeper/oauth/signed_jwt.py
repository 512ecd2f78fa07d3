"""A JWT that is signed each time it is needed, to be presented as an assertion (RFC 7523 §3)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.checks import checked_seconds, checked_text, checked_words
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError

if TYPE_CHECKING:
    from tokenkeeper.oauth.signing import SigningKey

__all__ = ["SignedJwt"]

_OWN_CLAIMS = {
    "iss": "issuer",
    "sub": "subject",
    "aud": "audience",
    "exp": "lifetime_seconds",
    "iat": "",
    "jti": "",
}
"""The claims that are set here, and the parameters that set them."""


class SignedJwt:
    """A callable that returns a newly signed JWT. Thread-safe.

    Pass it where a grant takes a token that it reads for each attempt, such as
    :class:`~tokenkeeper.JwtBearer` or the subject of a :class:`~tokenkeeper.TokenExchange`. Each
    JWT has a ``jti`` of its own, because a server may accept each once.

    :param key: signs.
    :param issuer: the claim ``iss``: often the ``client_id``, or the account that the key is of.
    :param subject: the claim ``sub``: whom the token is requested for; the issuer by default.
    :param audience: the claim ``aud``, one or several; ``None``, the default, names the server that
        the request goes to: its issuer if it is known, or else its token endpoint.
    :param claims: further claims, such as ``scope``; none by default.
    :param lifetime_seconds: how many seconds after its creation it expires; 300 by default. Some
        servers accept less, for example Salesforce 180.
    :param clock: the source of ``iat`` and ``exp``; by default the system's.
    :raises InvalidConfigurationError: for a value that can't work.
    """

    def __init__(
        self,
        key: SigningKey,
        *,
        issuer: str,
        subject: str | None = None,
        audience: str | Iterable[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        lifetime_seconds: float = 300.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if not callable(getattr(key, "sign", None)):
            raise InvalidConfigurationError(
                f"key must be a SigningKey, such as SigningKey.of(private_key_file=...), not "
                f"{type(key).__name__}",
                field="key",
            )
        self._key = key
        self._issuer = checked_text(issuer, "issuer")
        self._subject = self._issuer if subject is None else checked_text(subject, "subject")
        self._audience = checked_words(audience, "audience")
        self._claims = _checked_claims(claims)
        self._lifetime = checked_seconds(lifetime_seconds, "lifetime_seconds")
        self._clock = clock

    def __call__(self) -> str:
        """Return a new JWT for the audience that was set.

        :raises TokenAcquisitionError: if none was set.
        """
        if not self._audience:
            raise TokenAcquisitionError(
                "the JWT needs an audience: it is not known which server it is for. Set audience= "
                "of SignedJwt.",
                transient=False,
            )
        return self.addressed_to("")

    def addressed_to(self, audience: str) -> str:
        """Return a new JWT for the audience that was set, or for *audience* if none was.

        :raises OAuth2Error: if the key can't be used.
        """
        now = int(self._clock.time())
        *several, last = self._audience or (audience,)
        return self._key.sign(
            {
                **self._claims,
                "iss": self._issuer,
                "sub": self._subject,
                "aud": [*several, last] if several else last,
                "iat": now,
                "exp": int(now + self._lifetime),
                "jti": secrets.token_urlsafe(16),
            }
        )

    def identity(self) -> Mapping[str, object]:
        """Return the claims that do not change from one JWT to the next."""
        named = {"iss": self._issuer, "sub": self._subject, "aud": list(self._audience)}
        return {**self._claims, **named}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._issuer!r}>"


def _checked_claims(claims: object) -> dict[str, Any]:
    """Return a copy of *claims*."""
    if claims is None:
        return {}
    problem = ""
    if not isinstance(claims, Mapping):
        problem = f"claims must be a mapping, not {type(claims).__name__}"
    else:
        for name in _OWN_CLAIMS.keys() & claims.keys():
            advice = f"Set {_OWN_CLAIMS[name]} instead" if _OWN_CLAIMS[name] else "Leave it out"
            problem = f"claims must not contain {name!r}. {advice}"
    if not problem:
        try:
            return dict(json.loads(json.dumps(claims, allow_nan=False)))
        except (TypeError, ValueError, RecursionError):  # their texts may contain a claim
            problem = "claims must be values that JSON has"
    raise InvalidConfigurationError(problem, field="claims")
