"""A token endpoint's answer of success (RFC 6749 §5.1). No I/O, no lock, no trust.

The token's text is passed on to APIs, so it must be right. Other members never spoil it.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import DEFAULT_LIFETIME_SECONDS, Expected, HttpAnswer
from tokenkeeper.oauth.lifetime import (
    LONGEST_LIFETIME_SECONDS,
    ExpiredAnswer,
    Now,
    read_lifetime,
    read_refresh,
)
from tokenkeeper.oauth.members import Members, UnusableAnswer, read_members
from tokenkeeper.oauth.moments import as_moment
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.token_errors import refusal, retry_after
from tokenkeeper.oauth.token_type import read_token_type

__all__ = [
    "DEFAULT_LIFETIME_SECONDS",
    "LONGEST_LIFETIME_SECONDS",
    "Expected",
    "HttpAnswer",
    "parse_token_response",
]

ASK_AGAIN_SECONDS = 1.0
"""How long to wait for the successor of a token that had expired when it was granted."""

_VISIBLE = re.compile(r"[\x21-\x7e]+")  # RFC 6749 appendix A, VSCHAR without the space
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3
_NO_ERROR = frozenset({"", "0", "false", "no", "none", "null", "ok", "success", "undefined"})
_READ_HERE = frozenset({"access_token", "token_type", "expires_in", "scope", "refresh_token"})


def parse_token_response(answer: HttpAnswer, expected: Expected) -> OAuth2Token:
    """Return the token that *answer* grants.

    :raises TokenAcquisitionError: if it grants none, saying why and what to do.
    """
    problem = ""
    try:
        content = read_members(answer)
        if answer.ok and not _is_error(content):
            return _granted(answer, content, expected)
    except UnusableAnswer as unusable:
        problem = str(unusable)
    except ExpiredAnswer as expired:
        failure = _expired(answer, expected, str(expired))
    else:
        failure = refusal(answer, expected)
    if problem:
        failure = refusal(answer, expected, problem)
    # Raised out here, as an error raised inside would keep the decoder's own one as its context,
    # and that one holds the whole body.
    raise failure


def _granted(answer: HttpAnswer, content: Members, expected: Expected) -> OAuth2Token:
    access_token = _access_token(content, expected)
    _note_omitted(content, expected.omitted)
    token_type = read_token_type(content, expected)
    now = Now(expected.sent_at, as_moment(answer.headers.get("date")))
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


def _note_omitted(content: Members, omitted: set[str]) -> None:
    """Have *omitted* name the members that a client has to assume, as of this answer."""
    for name in ("expires_in", "scope"):
        if content.get(name) is None:
            omitted.add(name)
        else:
            omitted.discard(name)


def _is_error(content: Members) -> bool:
    """Return whether *content* has an error, and not only a member for one."""
    error = content.get("error")
    return error.strip().lower() not in _NO_ERROR if isinstance(error, str) else bool(error)


def _access_token(content: Members, expected: Expected) -> str:
    values = [value for value in content.every("access_token") if value is not None]
    if not values:
        names = ", ".join(content) or "nothing"
        raise UnusableAnswer(
            f"has no access_token, only: {sanitize(names, expected.secrets, limit=100)}"
        )
    token = values[0]
    if any(value != token for value in values):
        raise UnusableAnswer("has its access_token twice, and it is unclear which one counts")
    if not isinstance(token, str):
        raise UnusableAnswer(f"has an access_token that is not a string: {type(token).__name__}")
    if not token:
        raise UnusableAnswer("has an empty access_token")
    if not _VISIBLE.fullmatch(token):
        raise UnusableAnswer(
            "has an access_token that does not fit into a header: it has characters other than "
            "visible ASCII (RFC 6749 A.12)"
        )
    return token


def _scope(content: Members, expected: Expected) -> str | None:
    """Return what is known of the scope: as much as can be read, or else what was asked for."""
    scope = content.get("scope")
    said = scope if isinstance(scope, list) else [scope]
    texts = [each for each in said if isinstance(each, str)]
    tokens = [each for text in texts for each in text.split() if _SCOPE_TOKEN.fullmatch(each)]
    if tokens:
        return " ".join(tokens)
    if said == [] or (texts == said and not "".join(texts).strip()):
        return None
    return expected.scope  # RFC 6749 §5.1: left out where it is what was asked for


def _refresh_token(content: Members) -> str | None:
    token = content.get("refresh_token")
    return token if isinstance(token, str) and _VISIBLE.fullmatch(token) else None


def _expired(answer: HttpAnswer, expected: Expected, member: str) -> TokenAcquisitionError:
    """Return the error for a token without time left, such as one that was granted before."""
    return TokenAcquisitionError(
        f"provider {expected.provider_name!r}: token request failed (HTTP {answer.status}): the "
        f"server granted a token that has expired, by its {member}. Asking again in a moment may "
        "bring the next one. If this persists: set never_expires=True if the server's tokens do "
        "not expire, lifetime_seconds if they do.",
        provider_name=expected.provider_name,
        status_code=answer.status,
        retry_after=retry_after(answer.headers.get("retry-after"), expected.sent_at)
        or ASK_AGAIN_SECONDS,
        transient=True,
    )
