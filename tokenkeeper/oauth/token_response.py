"""Reads a successful token response (RFC 6749 §5.1). No I/O, no lock, no trust.

The token's text is passed on to APIs, so it is checked strictly. A fault in another member never
costs a token.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import ModuleType

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import DEFAULT_LIFETIME_SECONDS, Expected, HttpAnswer
from tokenkeeper.oauth.json_object import JsonObject, UnusableResponseError, read_object
from tokenkeeper.oauth.lifetime import (
    LONGEST_LIFETIME_SECONDS,
    ExpiredTokenError,
    Now,
    read_lifetime,
    read_refresh,
)
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.time_values import as_timestamp
from tokenkeeper.oauth.token_type import read_token_type

__all__ = [
    "DEFAULT_LIFETIME_SECONDS",
    "LONGEST_LIFETIME_SECONDS",
    "Expected",
    "HttpAnswer",
    "is_error",
    "parse_token_response",
]

_VISIBLE = re.compile(r"[\x21-\x7e]+")  # RFC 6749 appendix A, VSCHAR without the space
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3
_NO_ERROR = frozenset({"", "0", "false", "no", "none", "null", "ok", "success", "undefined"})
_READ_HERE = frozenset({"access_token", "token_type", "expires_in", "scope", "refresh_token"})


def parse_token_response(answer: HttpAnswer, expected: Expected) -> OAuth2Token:
    """Return the token that *answer* grants.

    :raises TokenAcquisitionError: if it does not grant a token. The message says why and what to
        do.
    """
    try:
        content = read_object(answer)
        if answer.ok and not is_error(content):
            return _granted(answer, content, expected)
    except UnusableResponseError as unusable:
        failure = _errors().refusal(answer, expected, str(unusable))
    except ExpiredTokenError as expired:
        failure = _errors().already_expired(answer, expected, str(expired))
    else:
        failure = _errors().refusal(answer, expected, "")
    # Raised here, outside the handlers: inside, the decoder's error, which holds the whole body,
    # would become its context.
    raise failure


def _errors() -> ModuleType:
    with forks_wait():  # most processes never see a refusal, so they do not load this
        from tokenkeeper.oauth import token_errors
    return token_errors


def _granted(answer: HttpAnswer, content: JsonObject, expected: Expected) -> OAuth2Token:
    access_token = _access_token(content, expected)
    _note_omitted(content, expected.omitted)
    token_type = read_token_type(content, expected)
    now = Now(expected.sent_at, as_timestamp(answer.headers.get("date")))
    lifetime = read_lifetime(content, access_token, expected, now)
    refresh_in = read_refresh(content, now)
    sent = datetime.fromtimestamp(expected.sent_at, UTC)
    return OAuth2Token(
        access_token=access_token,
        token_type=token_type,
        expires_at=sent + timedelta(seconds=lifetime),
        scope=_scope(content, expected),
        refresh_token=_refresh_token(content),
        extra={name: value for name, value in content.items() if name not in _READ_HERE},
        refresh_at=(
            sent + timedelta(seconds=refresh_in)
            if refresh_in is not None and refresh_in < lifetime
            else None
        ),
    )


def _note_omitted(content: JsonObject, omitted: set[str]) -> None:
    """Update *omitted*, the names of members that the response leaves to the client."""
    for name in ("expires_in", "scope"):
        if content.get(name) is None:
            omitted.add(name)
        else:
            omitted.discard(name)


def is_error(content: JsonObject) -> bool:
    """Return whether *content* reports an error; an empty ``error`` does not."""
    error = content.get("error")
    return error.strip().lower() not in _NO_ERROR if isinstance(error, str) else bool(error)


def _access_token(content: JsonObject, expected: Expected) -> str:
    values = [value for value in content.every("access_token") if value is not None]
    if not values:
        names = sanitize(", ".join(content), expected.secrets, limit=100)
        members = f", only these members: {names}" if names else ", and no other members"
        raise UnusableResponseError(f"has no access_token{members}")
    token = values[0]
    if any(value != token for value in values):
        raise UnusableResponseError("has two different access_token members")
    if not isinstance(token, str):
        kind = type(token).__name__
        raise UnusableResponseError(f"has an access_token of type {kind}, not a string")
    if not token:
        raise UnusableResponseError("has an empty access_token")
    if not _VISIBLE.fullmatch(token):
        raise UnusableResponseError(
            "has an access_token that can't be sent in a header: it contains characters other than "
            "visible ASCII (RFC 6749 A.12)"
        )
    return token


def _scope(content: JsonObject, expected: Expected) -> str | None:
    """Return the granted scope as far as it can be read, or else the requested one."""
    scope = content.get("scope")
    granted = scope if isinstance(scope, list) else [scope]
    texts = [each for each in granted if isinstance(each, str)]
    tokens = [each for text in texts for each in text.split() if _SCOPE_TOKEN.fullmatch(each)]
    if tokens:
        return " ".join(tokens)
    if granted == [] or (texts == granted and not "".join(texts).strip()):
        return None
    return expected.scope  # RFC 6749 §5.1: left out if it is the requested one


def _refresh_token(content: JsonObject) -> str | None:
    token = content.get("refresh_token")
    return token if isinstance(token, str) and _VISIBLE.fullmatch(token) else None
