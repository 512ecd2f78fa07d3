"""What a token endpoint said, read strictly (RFC 6749 §5). No I/O, no lock, no trust."""

from __future__ import annotations

import encodings.utf_8_sig  # noqa: F401 - decode() imports it late; see fork.py on late imports
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import DEFAULT_LIFETIME_SECONDS, Expected, HttpAnswer
from tokenkeeper.oauth.token_errors import refusal

__all__ = ["DEFAULT_LIFETIME_SECONDS", "Expected", "HttpAnswer", "parse_token_response"]

LONGEST_LIFETIME_SECONDS = 365 * 86400.0
"""What an enormous ``expires_in`` is clamped to."""

_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 §2.1
_VISIBLE = re.compile(r"[\x21-\x7e]+")  # RFC 6749 appendix A, VSCHAR without the space
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: +[\x21\x23-\x5b\x5d-\x7e]+)*")  # §3.3
_NUMBER = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?")
_ENORMOUS = re.compile(r"[0-9]{31,}")


class _Unusable(Exception):  # noqa: N818 - it never leaves this module
    """Why an answer can't be used."""


def parse_token_response(answer: HttpAnswer, expected: Expected) -> OAuth2Token:
    """Return the token that *answer* grants.

    :raises TokenAcquisitionError: if it grants none, saying why and what to do.
    """
    problem = ""
    try:
        content = _json_object(answer)
        if answer.ok and "error" not in content:
            return _granted(content, expected)
    except _Unusable as unusable:
        problem = str(unusable)
    # Raised out here, as an error raised inside would keep the decoder's own one as its context,
    # and that one holds the whole body.
    raise refusal(answer, expected, problem)


def _granted(content: Mapping[str, Any], expected: Expected) -> OAuth2Token:
    return OAuth2Token(
        access_token=_access_token(content),
        token_type=_token_type(content),
        expires_at=_expires_at(content, expected),
        scope=_scope(content, expected),
        refresh_token=_refresh_token(content),
    )


def _json_object(answer: HttpAnswer) -> dict[str, Any]:
    try:
        text = answer.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _Unusable("is not UTF-8") from None  # the original holds the whole body
    try:
        content = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_int=_any_int,
        )
    except _Unusable:
        raise
    except (ValueError, RecursionError):
        raise _Unusable(_what_it_is(answer, text)) from None
    if not isinstance(content, dict):
        raise _Unusable(f"is a JSON {type(content).__name__}, not an object")
    return content


def _what_it_is(answer: HttpAnswer, text: str) -> str:
    # Only now: some servers send JSON and call it HTML.
    if "html" in answer.headers.get("content-type", "").lower() or text.lstrip()[:1] == "<":
        return (
            "is a web page, not JSON: the URL may be no token endpoint, or a proxy's login page "
            "stands before it"
        )
    return "is not JSON"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise _Unusable("has a member twice, and nobody can say which one counts")
    return content


def _no_constant(name: str) -> NoReturn:
    raise _Unusable(f"is not JSON: {name} is no JSON number")


def _any_int(digits: str) -> int | float:
    # int() refuses more than 4300 digits; as many as these only mean "very long".
    if len(digits) < 30:
        return int(digits)
    return -1e30 if digits.startswith("-") else 1e30


def _access_token(content: Mapping[str, Any]) -> str:
    token = content.get("access_token")
    if token is None:
        raise _Unusable("has no access_token")
    if not isinstance(token, str):
        raise _Unusable("has an access_token that is no string")
    if not token:
        raise _Unusable("has an empty access_token")
    if not _B64TOKEN.fullmatch(token):
        raise _Unusable("has an access_token with characters that RFC 6750 §2.1 forbids")
    return token


def _token_type(content: Mapping[str, Any]) -> str:
    # RFC 6749 §5.1 requires it; servers that leave it out grant bearer tokens all the same.
    kind = content.get("token_type")
    if kind is None:
        return "Bearer"
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _Unusable("has a token_type other than Bearer, which no header here would fit")
    return kind


def _expires_at(content: Mapping[str, Any], expected: Expected) -> datetime:
    seconds = content.get("expires_in")
    if seconds is None:
        seconds = expected.default_lifetime
    elif isinstance(seconds, str) and _NUMBER.fullmatch(seconds.strip(" ")):
        seconds = float(seconds)
    elif isinstance(seconds, str) and _ENORMOUS.fullmatch(seconds.strip(" ")):
        seconds = _any_int(seconds.strip(" ").lstrip("0") or "0")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise _Unusable("has an expires_in that is no number of seconds")
    if not math.isfinite(seconds) or seconds <= 0:
        raise _Unusable("has an expires_in that is not positive and finite")
    lifetime = min(float(seconds), LONGEST_LIFETIME_SECONDS)
    return datetime.fromtimestamp(expected.sent_at, UTC) + timedelta(seconds=lifetime)


def _scope(content: Mapping[str, Any], expected: Expected) -> str | None:
    scope = content.get("scope")
    if scope is None:
        return expected.scope  # RFC 6749 §5.1: left out where it is what was asked for
    if isinstance(scope, list) and all(isinstance(each, str) for each in scope):
        scope = " ".join(scope)  # some servers do
    if not isinstance(scope, str):
        raise _Unusable("has a scope that is no string")
    scope = scope.strip(" ")
    if scope and not _SCOPE.fullmatch(scope):
        raise _Unusable("has a scope with characters that RFC 6749 §3.3 forbids")
    return scope or None


def _refresh_token(content: Mapping[str, Any]) -> str | None:
    token = content.get("refresh_token")
    if token is None or token == "":
        return None
    if not isinstance(token, str) or not _VISIBLE.fullmatch(token):
        raise _Unusable("has a refresh_token that is no string of visible characters")
    return token
