"""Client authentication by assertions: JWTs that prove who sends a request (RFC 7521, RFC 7523).

Each attempt has a new assertion, because a server may accept a ``jti`` once (RFC 7523 §3).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from tokenkeeper._support.checks import checked_seconds, checked_switch, checked_text, checked_words
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_proof import ClientProof, Recipient
from tokenkeeper.oauth.jws import JwsSigner, to_json
from tokenkeeper.oauth.late_text import LateText, checked_late_text, read_late
from tokenkeeper.oauth.signing import SigningKey

__all__ = ["JWT_BEARER", "ClientAssertion", "ClientSecretJwt", "PrivateKeyJwt"]

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The type of an assertion that is a JWT (RFC 7523 §2.2)."""

_HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")


class _Claims:
    """The claims of a client's own assertions (RFC 7523 §3, OpenID Connect Core §9).

    ``iss`` and ``sub`` are the client. ``iat`` is in whole seconds, rounded down, because some
    servers refuse fractions, and some a time that is a moment ahead of their own clock. For that
    reason there is no ``nbf`` either: no server needs it. ``exp`` is close, as servers may refuse
    a distant one, and remember each ``jti`` until then.
    """

    __slots__ = ("_audience", "_clock", "_constant", "_lifetime")

    def __init__(self, audience: object, lifetime_seconds: object, clock: Clock) -> None:
        self._audience = _checked_audience(audience)
        self._lifetime = math.ceil(checked_seconds(lifetime_seconds, "lifetime_seconds"))
        self._clock = clock
        self._constant: tuple[object, str] = None, ""

    def of(self, client_id: str, recipient: Recipient) -> str:
        """Return the claims of one assertion as JSON.

        The part that stays the same is made once, because making all of it each time would take as
        long as a tenth of a signature.
        """
        audience = self._audience or recipient.audience
        about, constant = self._constant
        if about != (client_id, audience):
            claims = {"iss": client_id, "sub": client_id, "aud": audience}
            constant = to_json(claims).removesuffix("}")
            self._constant = (client_id, audience), constant
        now = int(self._clock.time())
        times = f'"iat":{now},"exp":{now + self._lifetime}'
        return f'{constant},"jti":"{os.urandom(16).hex()}",{times}}}'

    @property
    def advice(self) -> str:
        """What else may be wrong if a server refuses an assertion without saying why."""
        return (
            "If so, it may expect another audience: set audience to the server's issuer "
            "or to its token endpoint. Compare the clocks, too: an assertion is valid for "
            f"{self._lifetime} s."
        )


class PrivateKeyJwt:
    """``private_key_jwt``: a JWT that is signed with the client's private key (RFC 7523 §2.2).

    Each request has a new JWT. Thread-safe; can be pickled. A replaced file is used from the next
    request on; see :class:`~tokenkeeper.SigningKey`.

    :param private_key: the key: PEM as text or bytes, a JWK as a mapping or as text, an object of
        cryptography, or a :class:`~tokenkeeper.SigningKey`. Either this or *private_key_file* is
        required.
    :param private_key_file: a file with the key, in PEM or as a JWK.
    :param password: the password of an encrypted PEM; ``None``, the default, for other keys.
    :param key_id: the ``kid`` by which the server knows the key; by default that of the JWK, or
        none.
    :param signing_alg: the algorithm, such as ``PS256``; by default the one that the JWK states, or
        else ``RS256`` for RSA, ``ES256``, ``ES384`` or ``ES512`` by the curve, or ``EdDSA``.
    :param certificate_file: the key's certificate in PEM, whose ``x5t#S256`` is sent for servers
        that know keys by it; by default none.
    :param audience: the ``aud``, a string or several; ``None``, the default, for the server's
        issuer if it is known, or else its token endpoint.
    :param lifetime_seconds: how long a JWT is valid; 60 by default.
    :param clock: the source of time; by default the system's.
    :raises InvalidConfigurationError: if there is no such key, or an option can't work.
    """

    __slots__ = ("_claims", "_key")

    method: str = "private_key_jwt"

    @without_frames
    def __init__(
        self,
        private_key: object = None,
        *,
        private_key_file: str | os.PathLike[str] | None = None,
        password: str | bytes | None = None,
        key_id: str | None = None,
        signing_alg: str | None = None,
        certificate_file: str | os.PathLike[str] | None = None,
        audience: str | Iterable[str] | None = None,
        lifetime_seconds: float = 60.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._claims = _Claims(audience, lifetime_seconds, clock)
        self._key = SigningKey.of(
            private_key,
            private_key_file=private_key_file,
            password=password,
            key_id=key_id,
            signing_alg=signing_alg,
            certificate_file=certificate_file,
            clock=clock,
        )

    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return a new assertion.

        :raises TokenAcquisitionError: see :meth:`SigningKey.sign <tokenkeeper.SigningKey.sign>`.
        """
        return _proof(client_id, self._key.sign_json(self._claims.of(client_id, recipient)))

    def refusal_advice(self, client_id: str) -> str:
        """Return what to check if the server refuses the client."""
        kid = "" if self._key.key_id is None else f" with the kid {self._key.key_id!r}"
        return (
            f"Check that the server has the public key of this client{kid}, and accepts "
            f"{self._key.alg}. {self._claims.advice}"
        )

    def __repr__(self) -> str:
        return f"PrivateKeyJwt({self._key!r})"


class ClientSecretJwt:
    """``client_secret_jwt``: a JWT that is signed with the client secret (OpenID Connect Core §9).

    The secret itself is not sent. Each request has a new JWT. Thread-safe; can be pickled.

    :param client_secret: the client password, which here is a key: servers may refuse one that is
        shorter than the hash, with 32, 48 or 64 bytes (RFC 7518 §3.2).
    :param signing_alg: ``HS256``, the default, ``HS384`` or ``HS512``.
    :param audience: the ``aud``, a string or several; ``None``, the default, for the server's
        issuer if it is known, or else its token endpoint.
    :param lifetime_seconds: how long a JWT is valid; 60 by default.
    :param clock: the source of time; by default the system's.
    :raises InvalidConfigurationError: for an option that can't work.
    """

    __slots__ = ("_claims", "_secret", "_signer")

    method: str = "client_secret_jwt"

    @without_frames
    def __init__(
        self,
        client_secret: str,
        *,
        signing_alg: str = "HS256",
        audience: str | Iterable[str] | None = None,
        lifetime_seconds: float = 60.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._claims = _Claims(audience, lifetime_seconds, clock)
        self._secret = checked_text(client_secret, "client_secret")
        if signing_alg not in _HMAC_ALGORITHMS:
            raise InvalidConfigurationError(
                f"signing_alg must be {', '.join(map(repr, _HMAC_ALGORITHMS[:-1]))} or "
                f"{_HMAC_ALGORITHMS[-1]!r} for a client secret. For other algorithms, use "
                "PrivateKeyJwt.",
                field="signing_alg",
            )
        self._signer = JwsSigner(signing_alg, self._secret.encode())

    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return a new assertion."""
        assertion = self._signer.sign_json(self._claims.of(client_id, recipient))
        return _proof(client_id, assertion, self._secret)

    def refusal_advice(self, client_id: str) -> str:
        """Return what to check if the server refuses the client."""
        return (
            "Check client_id and client_secret, and that the client is registered for "
            f"client_secret_jwt with {self._signer.alg}. {self._claims.advice}"
        )

    def __repr__(self) -> str:
        return f"ClientSecretJwt({self._signer.alg})"


class ClientAssertion:
    """An assertion by a party that the server trusts, instead of a secret (RFC 7521 §4.2).

    The source is asked for each attempt, so a token that is replaced while the program runs is used
    from the next request on. Thread-safe; can be pickled if the source can.

    :param source: a ``Path``, such as that of a projected token of Kubernetes or of a
        SPIFFE JWT-SVID, or a callable that returns the assertion, such as
        :class:`~tokenkeeper.GitHubActionsToken`, :class:`~tokenkeeper.AzurePipelinesToken` or a
        :class:`~tokenkeeper.TokenSource`.
    :param send_client_id: whether to send ``client_id`` beside the assertion, which most servers
        need to find the client; ``True`` by default.
    :param assertion_type: the ``client_assertion_type``; by default that of JWTs.
    :raises InvalidConfigurationError: for an option that can't work.
    """

    __slots__ = ("_assertion_type", "_send_client_id", "_source")

    method: str = "private_key_jwt"

    def __init__(
        self, source: LateText, *, send_client_id: bool = True, assertion_type: str = JWT_BEARER
    ) -> None:
        self._source = checked_late_text(source, "client_assertion")
        self._send_client_id = checked_switch(send_client_id, "send_client_id")
        self._assertion_type = checked_text(assertion_type, "assertion_type")

    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return the current assertion.

        :raises OAuth2Error: if the source has none.
        """
        assertion = read_late(self._source, "the client assertion")
        return _proof(
            client_id if self._send_client_id else None,
            assertion,
            assertion_type=self._assertion_type,
        )

    def refusal_advice(self, client_id: str) -> str:
        """Return what to check if the server refuses the client."""
        return (
            "Check that the server trusts the issuer of the client assertion for this client_id, "
            "with the subject and the audience that it has. If the server accepts an assertion "
            "only once, the source must return a new one for each request."
        )

    def __repr__(self) -> str:
        place = f"{self._source}" if isinstance(self._source, os.PathLike) else "a callable"
        return f"ClientAssertion(from {place})"


def _proof(
    client_id: str | None, assertion: str, secret: str = "", *, assertion_type: str = JWT_BEARER
) -> ClientProof:
    parameters = {"client_assertion_type": assertion_type, "client_assertion": assertion}
    if client_id is not None:
        parameters["client_id"] = client_id
    return ClientProof(parameters, hidden=(secret,) if secret else ())


def _checked_audience(audience: object) -> str | list[str] | None:
    """Return the value of ``aud``: a single string stays one, as some servers refuse a list."""
    values = checked_words(audience, "audience")
    if audience is not None and not values:
        raise InvalidConfigurationError(
            "audience is an empty list. Leave it out for the server's issuer or token endpoint.",
            field="audience",
        )
    return list(values) if len(values) > 1 else next(iter(values), None)
