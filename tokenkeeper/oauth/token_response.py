"""What a token endpoint said, read strictly (RFC 6749 §5). No I/O, no lock, no trust."""

from __future__ import annotations

import encodings.utf_8_sig  # noqa: F401 - decode() imports it late; see fork.py on late imports
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.hints import hint
from tokenkeeper.oauth.words import tame

__all__ = ["DEFAULT_LIFETIME_SECONDS", "Expected", "HttpAnswer", "parse_token_response"]

DEFAULT_LIFETIME_SECONDS = 3600.0
"""How long a token lives whose server does not say; ``expires_in`` is only recommended."""

LONGEST_LIFETIME_SECONDS = 365 * 86400.0
"""What an enormous ``expires_in`` is clamped to."""

CLOCK_SKEW_SECONDS = 300.0
"""From here on a server's clock is different enough to be mentioned."""

_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750 §2.1
_VISIBLE = re.compile(r"[\x21-\x7e]+")  # RFC 6749 appendix A, VSCHAR without the space
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: +[\x21\x23-\x5b\x5d-\x7e]+)*")  # §3.3
_NUMBER = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?")
_ENORMOUS = re.compile(r"[0-9]{31,}")


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP response that was read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status tells of success."""
        return 200 <= self.status < 300

    def __repr__(self) -> str:
        return f"HttpAnswer(status={self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True)
class Expected:
    """What the reader of an answer must know of its request.

    :param provider_name: whose request it was.
    :param sent_at: when it was sent, on the wall clock, in seconds since the epoch.
    :param scope: the scope asked for.
    :param secrets: what the request carried and no message may show.
    :param default_lifetime: seconds, for an answer without ``expires_in``.
    """

    provider_name: str
    sent_at: float
    scope: str | None = None
    secrets: Sequence[str] = ()
    default_lifetime: float = DEFAULT_LIFETIME_SECONDS

    def __repr__(self) -> str:
        return f"Expected(provider_name={self.provider_name!r})"


class _Unusable(Exception):  # noqa: N818 - it never leaves this module
    """Why an answer can't be used."""


def parse_token_response(answer: HttpAnswer, expected: Expected) -> OAuth2Token:
    """Return the token that *answer* grants.

    :raises TokenAcquisitionError: if it grants none, saying why and what to do.
    """
    content: dict[str, Any] = {}
    problem = ""
    try:
        content = _json_object(answer)
        if answer.ok and "error" not in content:
            return _granted(content, expected)
    except _Unusable as unusable:
        problem = str(unusable)
    # Raised out here, as an error raised inside would keep the decoder's own one as its context,
    # and that one holds the whole body.
    if 300 <= answer.status < 400:
        problem = (
            f"the token endpoint redirects (HTTP {answer.status}), and a secret is not sent after "
            "it: set the URL that it really has"
        )
        raise _refusal(expected, answer, problem, transient=False)
    if not problem:
        raise _refusal_by_error(expected, answer, content)
    if not answer.ok:
        problem = f"HTTP {answer.status}: {_status_advice(answer.status)}"
        raise _refusal(expected, answer, problem)
    raise _refusal(expected, answer, f"the answer {problem}", transient=False)


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


def _refusal_by_error(
    expected: Expected, answer: HttpAnswer, content: Mapping[str, Any]
) -> TokenAcquisitionError:
    """Return what an error answer says (RFC 6749 §5.2), whatever its status."""
    secrets = [*expected.secrets]
    secrets += [
        v for k in ("access_token", "refresh_token") if isinstance(v := content.get(k), str)
    ]
    error = content.get("error")
    error = tame(error, secrets, limit=100) if isinstance(error, str) and error else None
    description = content.get("error_description")
    description = tame(description, secrets) if isinstance(description, str) else None
    advice = hint(error, description) or _status_advice(answer.status)
    said = " ".join(filter(None, [error, description and f'("{description}")']))
    happened = f"the server refused it: {said}" if said else f"HTTP {answer.status}"
    final = answer.ok and error != "temporarily_unavailable"
    return _refusal(
        expected,
        answer,
        f"{happened}; {advice}",
        error=error,
        error_description=description,
        transient=False if final else None,
    )


def _refusal(
    expected: Expected,
    answer: HttpAnswer,
    problem: str,
    *,
    error: str | None = None,
    error_description: str | None = None,
    transient: bool | None = None,
) -> TokenAcquisitionError:
    if error == "temporarily_unavailable":
        transient = True
    return TokenAcquisitionError(
        f"provider {expected.provider_name!r}: no token: {problem}{_skew_note(expected, answer)}",
        provider_name=expected.provider_name,
        error=error,
        error_description=error_description,
        status_code=answer.status,
        retry_after=retry_after(answer.headers.get("retry-after"), expected.sent_at),
        transient=transient,
    )


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for (RFC 9110 §10.2.3), if it says any."""
    if value is None:
        return None
    value = value.strip(" \t")  # all the white space that a header may have (RFC 9110 §5.6.3)
    if _NUMBER.fullmatch(value):
        return float(value)
    moment = _http_date(value)
    return max(0.0, moment - now) if moment is not None else None


def _skew_note(expected: Expected, answer: HttpAnswer) -> str:
    theirs = _http_date(answer.headers.get("date", ""))
    if theirs is None or abs(theirs - expected.sent_at) < CLOCK_SKEW_SECONDS:
        return ""
    return f"; the server's clock differs from ours by {theirs - expected.sent_at:+.0f} s"


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        # A date without a zone is UTC too (RFC 9110 §5.6.7), and not of this machine's zone.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _status_advice(status: int) -> str:
    if status == 429:
        return "the server is asked too often: wait, or ask its operator for more"
    if status >= 500:
        return "the server fails: if it lasts, ask its operator"
    if status in (401, 403):
        return "check the client's id, secret and permissions"
    if status in (404, 405, 410):
        return "check the URL of the token endpoint"
    return "check the request with the server's operator"
