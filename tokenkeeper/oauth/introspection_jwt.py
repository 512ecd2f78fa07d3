"""Verifies a signed answer about a token (RFC 9701 §5): who signed it, for whom, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from tokenkeeper._runtime.fork import late_import
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client import OAuthClient
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.json_object import UnusableResponseError, narrow_text, read_object
from tokenkeeper.oauth.jwt_claims import jwt_claims
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.verdict import status_verdict

__all__ = ["verified"]

TYPE = "token-introspection+jwt"
"""The ``typ`` that keeps another JWT of the same issuer from being taken for an answer."""

LARGEST_AGE_SECONDS = 300.0
"""An answer that was signed longer ago may be an earlier one, repeated; clocks may differ by as
much."""

MOST_KEYS = 100


def verified(client: OAuthClient, answer: HttpAnswer, sent_at: float) -> Mapping[str, Any]:
    """Return what a signed *answer* says of the token.

    Only signatures with a private key are accepted, so that the client's secret is not enough
    to make one. The keys are requested again for each answer.

    :param sent_at: when the request was sent, in seconds since the epoch.
    :raises UnusableResponseError: if the answer can't be trusted.
    :raises TokenAcquisitionError: if the server's keys can't be had.
    """
    issuer = client.server.issuer()
    if issuer is None:
        raise UnusableResponseError(
            "is signed, and can't be verified, because the server's keys are not known. Set issuer "
            "in place of token_url"
        )
    jwt = late_import("jwt")
    text = narrow_text(answer.body).strip()
    header = _header(text, jwt)
    keys = _matching(_keys(client), header, jwt)
    client_id = client.config.client_id
    claims = _claims(text, header["alg"], keys, jwt, issuer=issuer, audience=client_id)
    age = sent_at - float(claims["iat"])
    if not abs(age) <= LARGEST_AGE_SECONDS:
        when = "too long ago" if age > 0 else "in the future"
        raise UnusableResponseError(f"was signed {when}, by its iat. Check this machine's clock")
    content = claims.get("token_introspection")
    if not isinstance(content, Mapping):
        raise UnusableResponseError("is signed, but has no object token_introspection")
    return content


def _header(text: str, jwt: ModuleType) -> Mapping[str, Any]:
    """Return the header of a JWT that was signed with a private key, and is an answer."""
    if text.count(".") == 4:
        raise UnusableResponseError("is encrypted, which is not supported (RFC 9701 §5)")
    try:
        header: Mapping[str, Any] = jwt.get_unverified_header(text)
    except (jwt.PyJWTError, RecursionError):
        raise UnusableResponseError("is not a JWT") from None
    alg, typ = header.get("alg"), str(header.get("typ", ""))
    if typ.lower().removeprefix("application/") != TYPE:
        raise UnusableResponseError(f"is a JWT of another typ than {TYPE}")
    known = late_import("jwt.algorithms").get_default_algorithms()
    if str(alg) not in known or alg == "none" or str(alg).startswith("HS"):
        shown = sanitize(str(alg), (), limit=40)
        raise UnusableResponseError(
            f"has the alg {shown!r}. Have the server sign with a private key, such as by RS256"
        )
    return header


def _keys(client: OAuthClient) -> list[Any]:
    """Return the keys of the server (RFC 7517 §5)."""
    url, name = client.server.endpoint("jwks_uri"), client.config.provider_name
    answer = client.transport.request(
        "GET", url, provider_name=name, headers={"Accept": "application/json"}
    )
    problem = f"answered HTTP {answer.status}"
    if answer.ok:
        with suppress(UnusableResponseError):
            keys = read_object(answer).get("keys")
            if isinstance(keys, list):
                return keys[:MOST_KEYS]
        problem = "has no list of keys"
    raise TokenAcquisitionError(
        f"provider {name!r}: introspection failed: the answer can't be verified, because the "
        f"server's jwks_uri {problem}.",
        provider_name=name,
        status_code=answer.status,
        transient=not answer.ok and status_verdict(answer.status).transient,
    )


def _matching(keys: list[Any], header: Mapping[str, Any], jwt: ModuleType) -> Iterator[Any]:
    """Yield the keys that the answer may be signed with."""
    for each in keys:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig":
            continue
        if "kid" in header and each.get("kid", header["kid"]) != header["kid"]:
            continue
        with suppress(jwt.PyJWTError):  # a key for other algorithms, or one that is not valid
            yield jwt.PyJWK(each, header["alg"]).key


def _claims(
    text: str, alg: str, keys: Iterator[Any], jwt: ModuleType, *, issuer: str, audience: str
) -> Mapping[str, Any]:
    unchecked = {f"verify_{name}": False for name in ("iat", "sub", "jti")}  # our clock checks iat
    options = {"require": ["iss", "aud", "iat"], **unchecked}
    for key in keys:
        try:
            jwt.decode(
                text, key, algorithms=[alg], options=options, audience=audience, issuer=issuer
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):  # such as one on another curve
            continue  # another key may fit
        except jwt.InvalidIssuerError:
            problem = "is signed for another issuer"
        except jwt.InvalidAudienceError:
            problem = "is signed for another client"
        except (jwt.PyJWTError, TypeError, ValueError, RecursionError) as error:
            problem = f"is signed, and can't be used ({type(error).__name__})"
        else:
            claims = jwt_claims(text)  # the same, with bounds for numbers and nesting
            if isinstance(claims.get("iat"), (int, float)):
                return claims
            problem = "is signed, and its iat is not a number"
        raise UnusableResponseError(problem)
    raise UnusableResponseError("is not signed with one of the server's keys")
