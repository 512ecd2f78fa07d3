"""Makes the error for a response that grants no token (RFC 6749 §5.2). No I/O, no lock, no trust.

Other endpoints refuse a request in the same way, and differ in the words for it: their ``Purpose``.

:mod:`~tokenkeeper.oauth.error_body` reads what the server sent, :mod:`~tokenkeeper.oauth.verdict`
judges it unredacted, and this module turns it into a message without secrets.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from itertools import chain
from urllib.parse import urlsplit

from tokenkeeper._support.hiding import HIDDEN
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.error_body import BodyFormat, ErrorResponse, read_error
from tokenkeeper.oauth.error_codes import known_code, spelling_of
from tokenkeeper.oauth.exchange import Expected, HttpAnswer, Purpose
from tokenkeeper.oauth.redaction import SecretPieces, sanitize
from tokenkeeper.oauth.verdict import PENDING_CODES, Verdict, judge

__all__ = ["already_expired", "refusal", "retry_after"]

ASK_AGAIN_SECONDS = 1.0
"""How long to wait before another request if the granted token had already expired."""

CLOCK_SKEW_SECONDS = 300.0
"""A difference between the server's clock and ours that is worth mentioning."""

_NUMBER = r"[0-9]{1,30}(?:\.[0-9]{1,30})?"


def refusal(answer: HttpAnswer, expected: Expected, problem: str) -> TokenAcquisitionError:
    """Return the error for *answer*, for the caller to raise.

    :param problem: why a response with a success status can't be used, as in "has no
        access_token"; "" if the status or an error in the response is the problem.
    """
    response = read_error(answer)
    secrets = SecretPieces(chain(expected.secrets, response.secrets))
    wait = retry_after(answer.headers.get("retry-after"), expected.sent_at)
    if wait is None:
        wait = response.wait_seconds
    verdict = _judge(answer, response, wait, expected, problem)
    code = verdict.code if verdict.code in PENDING_CODES else _code(response, secrets)
    description = sanitize(response.words, secrets, limit=240)
    reason, advice = _reason_and_advice(answer, response, problem, verdict, expected, secrets)
    request = expected.purpose.request
    failed = f"provider {expected.provider_name!r}: {request} failed (HTTP {answer.status})"
    sentences = [
        f"{failed}: {reason}" if reason else failed,
        advice,
        _wait_note(wait),
        _skew_note(expected, answer),
    ]
    return TokenAcquisitionError(
        " ".join(_as_sentence(each) for each in sentences if each),
        provider_name=expected.provider_name,
        error=code,
        error_description=description if response.is_described and description else None,
        status_code=answer.status,
        retry_after=wait,
        transient=verdict.transient,
    )


def already_expired(answer: HttpAnswer, expected: Expected, member: str) -> TokenAcquisitionError:
    """Return the error for a token that has expired, such as a server's cached one."""
    return TokenAcquisitionError(
        f"provider {expected.provider_name!r}: token request failed (HTTP {answer.status}): the "
        f"server granted a token that has already expired, according to {member}. Try again in a "
        "moment. If this persists, set never_expires=True if the server's tokens do not expire, or "
        "lifetime_seconds if they do.",
        provider_name=expected.provider_name,
        status_code=answer.status,
        retry_after=retry_after(answer.headers.get("retry-after"), expected.sent_at)
        or ASK_AGAIN_SECONDS,
        transient=True,
    )


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` asks for (RFC 9110 §10.2.3).

    :param value: the header's value; ``None`` if there is no such header.
    :param now: seconds since the epoch, for a value that is a date.
    :returns: ``None`` if there is no value, or none that can be read.
    """
    if value is None:
        return None
    value = value.strip(" \t")  # the only white space in a header (RFC 9110 §5.6.3)
    if re.fullmatch(_NUMBER, value):
        return float(value)
    moment = _http_date(value)
    return max(0.0, moment - now) if moment is not None else None


def _code(response: ErrorResponse, secrets: SecretPieces) -> str | None:
    """Return the most specific of the server's codes, sanitized."""
    codes = [code for code in response.codes if not code.isdecimal() and code != "a number"]
    known = next((code for code in codes if known_code(code)), None)
    raw = known or next(iter(codes), None)
    if raw is None:
        return None
    # The spelling of a known code comes from our own table, so it can't contain a secret.
    return spelling_of(raw) or sanitize(raw, secrets, limit=100) or None


def _judge(
    answer: HttpAnswer,
    response: ErrorResponse,
    wait: float | None,
    expected: Expected,
    problem: str,
) -> Verdict:
    asked_to_wait = wait is not None
    if _is_unusable_grant(answer, response, problem):
        return Verdict(asked_to_wait, "Check the response with the server's operator.")
    status = (response.status or answer.status) if answer.ok else answer.status
    return judge(
        response.codes,
        response.words,
        status,
        asked_to_wait=asked_to_wait,
        grant=expected.grant,
    )


def _is_unusable_grant(answer: HttpAnswer, response: ErrorResponse, problem: str) -> bool:
    """Return whether *answer* grants a token that can't be used; other members are not errors."""
    return answer.ok and response.has_token and bool(problem)


def _reason_and_advice(
    answer: HttpAnswer,
    response: ErrorResponse,
    problem: str,
    verdict: Verdict,
    expected: Expected,
    secrets: SecretPieces,
) -> tuple[str, str]:
    """Return why the request failed ("" if there is only the status), and what to do."""
    if 300 <= answer.status < 400:
        return _redirect(answer, secrets, expected.purpose)
    if _is_unusable_grant(answer, response, problem):
        return f"the response {problem}", verdict.advice
    words = _quoted(response, secrets)
    if response.format is BodyFormat.WEB_PAGE and not response.codes:
        return _web_page(answer, words, verdict, expected.purpose)
    advice = _client_advice(verdict, answer, expected)
    if answer.ok:
        where = _endpoint_advice(verdict, expected.purpose)
        return _not_a_grant(response, problem, words, advice, where)
    if response.codes or (words and response.format is not BodyFormat.TEXT):
        return words, advice
    if response.format in (BodyFormat.JSON, BodyFormat.BINARY):
        return words, advice
    return _with(f"the response is {response.format.value}", words), advice


def _not_a_grant(
    response: ErrorResponse, problem: str, words: str, advice: str, endpoint_advice: str
) -> tuple[str, str]:
    """Do the same for a response with a success status that does not grant a token."""
    if problem and response.format is BodyFormat.JSON and not response.is_object:
        return _with(f"the response {problem}", words), endpoint_advice
    if response.codes or (words and response.format is not BodyFormat.TEXT):
        return words, advice
    if response.format is BodyFormat.JSON:
        return f"the response {problem or 'has no access_token'}", endpoint_advice
    if response.format is BodyFormat.FORM:
        endpoint_advice = (
            "Have the server respond in JSON (RFC 6749 §5.1), or write a provider for it."
        )
    return _with(f"the response is {response.format.value}", words), endpoint_advice


def _quoted(response: ErrorResponse, secrets: SecretPieces) -> str:
    """Return the server's codes and its description in quotes, sanitized."""
    words = sanitize(response.words, secrets, limit=240)
    codes = [code for code in response.codes if code not in response.words][:2]
    shown = []
    for code in codes or response.codes[:1]:
        sanitized = sanitize(code, secrets, limit=100)
        # A known code that a secret is part of is shown in the spelling of our own table.
        shown.append(spelling_of(code) or sanitized if HIDDEN in sanitized else sanitized)
    joined = ", ".join(filter(None, shown))
    if joined and words:
        return f'{joined} ("{words}")'
    return joined or (words and f'"{words}"')


def _redirect(answer: HttpAnswer, secrets: SecretPieces, purpose: Purpose) -> tuple[str, str]:
    """Name the host of a redirect; the rest of its URL may contain secrets."""
    try:
        host = urlsplit(answer.headers.get("location", "").strip()).hostname
    except ValueError:
        host = None
    to = f" to {sanitize(host, secrets, limit=100)}" if host else ""
    advice = f"Set {purpose.setting} to the final URL."
    return (
        f"the {purpose.endpoint} redirects{to}",
        f"Redirects are not followed, to keep the secret safe. {advice}",
    )


def _web_page(
    answer: HttpAnswer, words: str, verdict: Verdict, purpose: Purpose
) -> tuple[str, str]:
    reason = _with("the response is a web page, not JSON", words)
    if verdict.code or answer.status == 429 or answer.status >= 500:
        return reason, verdict.advice
    article = "an" if purpose.endpoint.startswith("i") else "a"
    endpoint = f"{article} {purpose.endpoint}"
    return reason, f"Check that the URL is {endpoint}, without a login page in front of it."


def _client_advice(verdict: Verdict, answer: HttpAnswer, expected: Expected) -> str:
    """Return the advice, which depends on the client authentication if the client is refused."""
    is_refused = verdict.code == "invalid_client" or (answer.status == 401 and verdict.code is None)
    return expected.auth_advice(verdict.advice) if is_refused else verdict.advice


def _endpoint_advice(verdict: Verdict, purpose: Purpose) -> str:
    if verdict.code:
        return verdict.advice
    return f"Check that {purpose.setting} is the {purpose.endpoint}."


def _with(reason: str, words: str) -> str:
    return f"{reason}: {words}" if words else reason


def _wait_note(wait: float | None) -> str:
    if wait is None:
        return ""
    return f"The server asks to wait {f'{wait:.1f}'.removesuffix('.0')} s." if wait < 1e9 else ""


def _skew_note(expected: Expected, answer: HttpAnswer) -> str:
    theirs = _http_date(answer.headers.get("date", ""))
    if theirs is None or abs(theirs - expected.sent_at) < CLOCK_SKEW_SECONDS:
        return ""
    return f"The server's clock differs from ours by {theirs - expected.sent_at:+.0f} s."


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", '."')) else f"{text}."


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        # A date without a zone is UTC too (RFC 9110 §5.6.7), not local time.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
