"""The error for an answer that grants no token (RFC 6749 §5.2). No I/O, no lock, no trust.

What the server sent is read by :mod:`~tokenkeeper.oauth.error_body`, judged as it was sent by
:mod:`~tokenkeeper.oauth.verdict`, and shown here without secrets.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from tokenkeeper._support.hiding import HIDDEN
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.error_body import Form, Said, read_error
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.verdict import Verdict, judge, known_code, spelling_of

__all__ = ["refusal", "retry_after"]

CLOCK_SKEW_SECONDS = 300.0
"""From here on a server's clock is different enough to be mentioned."""

_NUMBER = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?")


def refusal(answer: HttpAnswer, expected: Expected, problem: str = "") -> TokenAcquisitionError:
    """Return the error that *answer* means, for the caller to raise.

    :param problem: why an answer of success can't be used, as in "has no access_token"; what the
        server says about it goes first.
    """
    said = read_error(answer)
    secrets = [*expected.secrets, *said.secrets]
    wait = retry_after(answer.headers.get("retry-after"), expected.sent_at)
    if wait is None:
        wait = said.wait_seconds
    verdict = _judge(answer, said, wait, expected, problem)
    code, description = _code(said, secrets), sanitize(said.words, secrets, limit=240)
    happened, advice = _in_words(answer, said, problem, verdict, expected, secrets)
    failed = f"provider {expected.provider_name!r}: token request failed (HTTP {answer.status})"
    sentences = [
        f"{failed}: {happened}" if happened else failed,
        advice,
        _wait_note(wait),
        _skew_note(expected, answer),
    ]
    return TokenAcquisitionError(
        " ".join(_as_sentence(each) for each in sentences if each),
        provider_name=expected.provider_name,
        error=code,
        error_description=description if said.is_described and description else None,
        status_code=answer.status,
        retry_after=wait,
        transient=verdict.transient,
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


def _code(said: Said, secrets: list[str]) -> str | None:
    """Return the telling one of the server's codes, fit to be shown."""
    codes = [code for code in said.codes if not code.isdecimal() and code != "a number"]
    known = next((code for code in codes if known_code(code)), None)
    raw = known or next(iter(codes), None)
    if raw is None:
        return None
    # A known code is written as our table has it: none of that is the server's.
    return spelling_of(raw) or sanitize(raw, secrets, limit=100) or None


def _judge(
    answer: HttpAnswer, said: Said, wait: float | None, expected: Expected, problem: str
) -> Verdict:
    waits = wait is not None
    if _is_about_the_token(answer, said, problem):
        return Verdict(waits, "Check the answer with the server's operator.")
    status = (said.status or answer.status) if answer.ok else answer.status
    return judge(said.codes, said.words, status, asked_to_wait=waits, grant=expected.grant)


def _is_about_the_token(answer: HttpAnswer, said: Said, problem: str) -> bool:
    """Return whether there is a token that can't be used, so other members mean no error."""
    return answer.ok and said.has_token and bool(problem)


def _in_words(
    answer: HttpAnswer,
    said: Said,
    problem: str,
    verdict: Verdict,
    expected: Expected,
    secrets: list[str],
) -> tuple[str, str]:
    """Return what happened, and what to do about it."""
    if 300 <= answer.status < 400:
        return _redirect(answer, secrets)
    if _is_about_the_token(answer, said, problem):
        return f"the answer {problem}", verdict.advice
    words = _quoted(said, secrets)
    if answer.ok and problem and said.form is Form.JSON and not said.is_object:
        return _with(f"the answer {problem}", words), _where(verdict)
    if said.form is Form.WEB_PAGE and not said.codes:
        return _web_page(answer, words, verdict)
    if said.codes or (words and said.form is not Form.TEXT):
        return words, _advice(verdict, answer, expected)
    if not answer.ok:
        what = "" if said.form in (Form.JSON, Form.BINARY) else f"the answer is {said.form.value}"
        return _with(what, words), _advice(verdict, answer, expected)
    if said.form is Form.JSON:
        return f"the answer {problem or 'has no access_token'}", _where(verdict)
    advice = _where(verdict)
    if said.form is Form.FORM:
        advice = "Have the server answer in JSON (RFC 6749 §5.1), or use a provider of your own."
    return _with(f"the answer is {said.form.value}", words), advice


def _quoted(said: Said, secrets: list[str]) -> str:
    words = sanitize(said.words, secrets, limit=240)
    shown = []
    for code in [code for code in said.codes if code not in said.words][:2] or said.codes[:1]:
        tamed = sanitize(code, secrets, limit=100)
        # A known code that a secret is part of is written as our table has it.
        shown.append(spelling_of(code) or tamed if HIDDEN in tamed else tamed)
    codes = ", ".join(filter(None, shown))
    if codes and words:
        return f'{codes} ("{words}")'
    return codes or (words and f'"{words}"')


def _redirect(answer: HttpAnswer, secrets: list[str]) -> tuple[str, str]:
    """Name the host that a redirect points to, and nothing else of its URL."""
    try:
        host = urlsplit(answer.headers.get("location", "").strip()).hostname
    except ValueError:
        host = None
    to = f" to {sanitize(host, secrets, limit=100)}" if host else ""
    return (
        f"the token endpoint redirects{to}",
        "The secret is not sent after a redirect. Set token_url to the URL that it really has.",
    )


def _web_page(answer: HttpAnswer, words: str, verdict: Verdict) -> tuple[str, str]:
    what = _with("the answer is a web page, not JSON", words)
    if verdict.code or answer.status == 429 or answer.status >= 500:
        return what, verdict.advice
    return what, "Check that the URL is a token endpoint, and that no login page is before it."


def _advice(verdict: Verdict, answer: HttpAnswer, expected: Expected) -> str:
    # Basic refused, and each side may have encoded the secret in its own way.
    client_refused = verdict.code == "invalid_client" or (
        answer.status == 401 and verdict.code is None
    )
    if client_refused and expected.auth_advice:
        return f"{verdict.advice} {expected.auth_advice}"
    return verdict.advice


def _where(verdict: Verdict) -> str:
    return verdict.advice if verdict.code else "Check that token_url is the token endpoint."


def _with(what: str, words: str) -> str:
    return f"{what}: {words}" if what and words else what or words


def _wait_note(wait: float | None) -> str:
    if wait is None:
        return ""
    return f"The server asks to wait {f'{wait:.1f}'.removesuffix('.0')} s" if wait < 1e9 else ""


def _skew_note(expected: Expected, answer: HttpAnswer) -> str:
    theirs = _http_date(answer.headers.get("date", ""))
    if theirs is None or abs(theirs - expected.sent_at) < CLOCK_SKEW_SECONDS:
        return ""
    return f"The server's clock differs from ours by {theirs - expected.sent_at:+.0f} s"


def _as_sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", '."')) else f"{text}."


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        # A date without a zone is UTC too (RFC 9110 §5.6.7), and not of this machine's zone.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
