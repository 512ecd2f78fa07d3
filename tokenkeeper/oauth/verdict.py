"""Decides what a refusal means: whether a retry may help, and what to do.

It reads what the server sent before anything is redacted: a secret that happens to be a common word
must not change what a code means. The table is :mod:`tokenkeeper.oauth.error_codes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tokenkeeper.oauth.error_codes import BY_AADSTS, CODES, STATUSES, known_code
from tokenkeeper.oauth.phrases import (
    code_in,
    is_busy,
    pending_in,
    says_later,
    sounds_final,
    sounds_transient,
)

__all__ = ["PENDING_CODES", "Verdict", "judge", "status_verdict"]

PENDING_CODES = ("authorization_pending", "slow_down")
"""Answers to a poll that mean to ask again, which some servers send as descriptions only."""


class Verdict(NamedTuple):
    """The meaning of one refusal.

    :ivar transient: whether the same request may succeed later.
    :ivar advice: what to do, in a sentence or two.
    :ivar code: the code or the ``AADSTS`` number that decided; ``None`` if the status did.
    """

    transient: bool
    advice: str
    code: str | None = None


_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
_CIBA = "urn:openid:params:grant-type:ciba"
_POLLS = (_DEVICE_CODE, _CIBA)

_BY_GRANT = {
    "refresh_token": (
        "The refresh token has expired, was revoked, was already used, or was issued to another "
        "client. Obtain a new one."
    ),
    "authorization_code": (
        "The authorization code has expired or was already used. Sign in again."
    ),
    _DEVICE_CODE: ("The device code has expired, was denied, or was already used. Sign in again."),
    _CIBA: "The auth_req_id has expired, was denied, or was already used. Sign in again.",
    "urn:ietf:params:oauth:grant-type:jwt-bearer": (
        "The assertion has expired or is meant for another server. Check this machine's clock."
    ),
    "urn:ietf:params:oauth:grant-type:token-exchange": (
        "The subject or actor token has expired, was revoked, or is not one that this server "
        "accepts from this client."
    ),
    "password": "The username or the password is wrong, or the server requires a second factor.",
    "client_credentials": (
        "The server does not grant this client a token. Check client_id and client_secret, and "
        "have the server allow client credentials for it."
    ),
}
"""What ``invalid_grant`` means for each grant type."""

_INVALID_REQUEST_BY_GRANT = {
    "urn:ietf:params:oauth:grant-type:token-exchange": (
        "A parameter is missing or invalid, or the server does not accept the subject or actor "
        "token: it may have expired, or was revoked (RFC 8693 §2.2.2)."
    ),
    "password": "A parameter is missing or invalid, or the username or the password is wrong.",
}
"""What ``invalid_request`` means for grants for which servers send it in place of the above."""

_DENIED = "The person, or the server, denied the request."
"""What ``access_denied`` means after a request to sign in (RFC 8628 §3.5, CIBA Core §11)."""

_ADMIN_CONSENT = (
    "The server requires a user's consent, which a client on its own can't give. Have an "
    "administrator grant it for the application."
)
_AADSTS = r"AADSTS(\d+)"


def judge(
    codes: Iterable[str],
    words: str,
    status: int | None,
    *,
    asked_to_wait: bool = False,
    grant: str | None = None,
) -> Verdict:
    """Return what a refusal means.

    A server that is still processing this very request, or that says when to come back, may be
    asked again whatever else it says: even a wrong secret with a ``Retry-After`` is retried after
    that time, as often as the retry policy allows. Otherwise the codes decide, then the
    description, and the status only where neither says anything.

    :param codes: the server's codes as sent, the most specific first.
    :param words: its description as sent; "" if there is none.
    :param status: the HTTP status; ``None`` if there is none.
    :param asked_to_wait: whether it sent a readable ``Retry-After``; by default it did not.
    :param grant: the ``grant_type`` of the request, which the advice depends on; by default
        unknown.
    """
    codes, words = [*codes], words[:2000]
    verdict = _from_content(codes, words, grant) or status_verdict(status, codes)
    if is_busy(words) and verdict.code not in PENDING_CODES:
        return Verdict(*CODES["request_in_progress"], "request_in_progress")
    return verdict._replace(transient=True) if asked_to_wait else verdict


def status_verdict(status: int | None, codes: Iterable[str] = ()) -> Verdict:
    """Return what *status* means where the body says nothing more specific.

    :param codes: unknown codes of the response: one that blames the request makes it final.
    """
    if any(sounds_final(code) for code in codes):
        row = "other" if status and status >= 500 else _row(status)
        return Verdict(False, STATUSES[row].advice)
    return Verdict(*STATUSES[_row(status)])


def _from_content(codes: list[str], words: str, grant: str | None) -> Verdict | None:
    """Return the verdict that codes and description give, or ``None`` if they give none."""
    known = next(filter(None, map(known_code, codes)), None)
    for number in re.findall(_AADSTS, " ".join([*codes, words])):
        if number in BY_AADSTS:
            return Verdict(*BY_AADSTS[number], known or f"AADSTS{number}")
    if grant in _POLLS and known in (None, "invalid_grant", "invalid_request"):
        pending = pending_in(words) or ("authorization_pending" if is_busy(words) else None)
        if pending is not None:
            return Verdict(*CODES[pending], pending)
    in_words = code_in(words)
    if in_words == "client_certificate_required":
        return Verdict(*CODES[in_words], in_words)
    later = says_later(words) if in_words is None else None
    # Servers send invalid_request for anything, so their description is more specific. Zoho denies
    # access to a client that asks too often.
    is_throttled = known == "access_denied" and later == "too_many_requests" and grant not in _POLLS
    if later is not None and (known in (None, "invalid_request") or is_throttled):
        return Verdict(*CODES[later], later)
    code = known or next(filter(None, map(sounds_transient, codes)), None) or in_words
    if code is None:
        return None
    return Verdict(CODES[code].transient, _advice(code, grant), code)


def _advice(code: str, grant: str | None) -> str:
    if code in ("invalid_grant", "invalid_token") and grant in _BY_GRANT:
        return _BY_GRANT[grant]
    if code == "access_denied" and grant in _POLLS:
        return _DENIED
    if code == "invalid_request" and grant in _INVALID_REQUEST_BY_GRANT:
        return _INVALID_REQUEST_BY_GRANT[grant]
    if grant == "client_credentials" and CODES[code] == CODES["consent_required"]:
        return _ADMIN_CONSENT
    return CODES[code].advice


def _row(status: int | None) -> str:
    """Return the key of :data:`STATUSES` that *status* falls under."""
    for row in STATUSES:
        if str(status) in row.split(", "):
            return row
    return "5xx" if status is not None and 500 <= status <= 599 else "other"
