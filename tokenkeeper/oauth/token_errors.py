"""What a token endpoint says when it grants no token (RFC 6749 §5.2). No I/O, no lock, no trust."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.hints import hint
from tokenkeeper.oauth.words import tame

__all__ = ["refusal", "retry_after"]

CLOCK_SKEW_SECONDS = 300.0
"""From here on a server's clock is different enough to be mentioned."""

_NUMBER = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?")


def refusal(answer: HttpAnswer, expected: Expected, problem: str = "") -> TokenAcquisitionError:
    """Return the error that *answer* means, for the caller to raise.

    :param problem: why an answer of success can't be used, as in "has no access_token".
    """
    if 300 <= answer.status < 400:
        problem = (
            f"the token endpoint redirects (HTTP {answer.status}), and a secret is not sent after "
            "it: set the URL that it really has"
        )
        return _refusal(expected, answer, problem, transient=False)
    content = _content(answer)
    if not problem and content is not None:
        return _refusal_by_error(expected, answer, content)
    if not answer.ok:
        problem = f"HTTP {answer.status}: {_status_advice(answer.status)}"
        return _refusal(expected, answer, problem)
    return _refusal(expected, answer, f"the answer {problem}", transient=False)


def _content(answer: HttpAnswer) -> dict[str, Any] | None:
    try:
        content = json.loads(answer.body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


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
