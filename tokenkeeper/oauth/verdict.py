"""What a refusal means: whether asking again may help, and what to do. The one table of both.

It feeds the retries (``TokenAcquisitionError.transient``), the advice at the end of messages, the
doctor, the labels of metrics, and ``docs/reference/errors.md``. It looks at what the server sent,
before anything is redacted: a secret that is a common word must not change what a code means. It
imports nothing of the package but :mod:`tokenkeeper.oauth.phrases`, so the exceptions can use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tokenkeeper.oauth.phrases import (
    code_in,
    is_busy,
    last_part,
    says_later,
    sounds_final,
    sounds_transient,
)

__all__ = [
    "ALIASES",
    "BY_AADSTS",
    "CODES",
    "STATUSES",
    "Meaning",
    "Verdict",
    "judge",
    "known_code",
    "spelling_of",
    "status_verdict",
]


class Meaning(NamedTuple):
    """One row of the table.

    :ivar transient: whether asking again later, with nothing changed, may work.
    :ivar advice: what to do, in a sentence or two.
    """

    transient: bool
    advice: str


class Verdict(NamedTuple):
    """What one refusal means.

    :ivar code: the code of :data:`CODES` or the number of :data:`BY_AADSTS` that decided; ``None``
        if it was the status.
    """

    transient: bool
    advice: str
    code: str | None = None


_PERSISTS = "If this persists, contact the server's operator."
_ASK = "Check the request with the server's operator."
_PERSON = (
    "The server wants a person to sign in or to consent. Have an administrator grant consent, or "
    "sign in again."
)
_RESOURCE = "This client may not ask for this resource. Correct it, or have it permitted."

CODES = {
    # RFC 6749 §5.2
    "invalid_client": Meaning(
        False, "Check client_id and client_secret: wrong, expired, or sent the wrong way."
    ),
    "invalid_grant": Meaning(
        False, "What was presented has expired, was revoked or belongs to another client."
    ),
    "invalid_request": Meaning(
        False, "A parameter is missing or wrong. Check additional_params and scope."
    ),
    "invalid_scope": Meaning(
        False, "This client may not ask for this scope. Correct it, or have it permitted."
    ),
    "unauthorized_client": Meaning(
        False, "This client may not use this grant. Have it permitted at the server."
    ),
    "unsupported_grant_type": Meaning(
        False, "This server does not know the grant. Check that token_url is the token endpoint."
    ),
    # RFC 6749 §4.1.2.1
    "access_denied": Meaning(
        False, "The client lacks a permission. Ask the server's operator to grant it."
    ),
    "unsupported_response_type": Meaning(
        False, "This is not a token endpoint. Check that token_url is the token endpoint."
    ),
    "server_error": Meaning(True, f"The server failed. {_PERSISTS}"),
    "temporarily_unavailable": Meaning(True, f"The server is overloaded or down. {_PERSISTS}"),
    # RFC 6750 §3.1, said by token endpoints too
    "invalid_token": Meaning(False, "What was presented has expired or was revoked."),
    "insufficient_scope": Meaning(
        False, "The client lacks a permission. Ask the server's operator to grant it."
    ),
    # RFC 8707 §2, RFC 9396 §5, and Entra ID
    "invalid_target": Meaning(False, _RESOURCE),
    "invalid_resource": Meaning(False, _RESOURCE),
    "invalid_authorization_details": Meaning(
        False, "The server rejects authorization_details. Correct it, or have it permitted."
    ),
    # OpenID Connect Core §3.1.2.6, RFC 9470 §3
    "interaction_required": Meaning(False, _PERSON),
    "login_required": Meaning(False, _PERSON),
    "consent_required": Meaning(False, _PERSON),
    "account_selection_required": Meaning(False, _PERSON),
    "unmet_authentication_requirements": Meaning(False, _PERSON),
    "insufficient_user_authentication": Meaning(False, _PERSON),
    # RFC 8628 §3.5
    "authorization_pending": Meaning(True, "Nobody has approved the request yet."),
    "expired_token": Meaning(False, "Nobody approved the request in time. Start again."),
    "slow_down": Meaning(True, "The server is asked too often. Ask less often."),
    # RFC 9449 §5, §8
    "invalid_dpop_proof": Meaning(False, "The server rejects the DPoP proof. Check the clock."),
    "use_dpop_nonce": Meaning(False, "The server wants DPoP, which this provider does not send."),
    # Said in many ways, or in words alone; these names are ours
    "client_certificate_required": Meaning(
        False,
        "The server wants a TLS client certificate. Pass a requests session that has one as "
        "session=, or use a token endpoint that wants none.",
    ),
    "request_in_progress": Meaning(
        True, "The server is working on an equal request already. It can be repeated in a moment."
    ),
    "too_many_requests": Meaning(
        True, "The server is asked too often. Ask less often, or ask its operator for more."
    ),
}
"""By code. A code decides at any status: servers send ``invalid_client`` with a 503."""

ALIASES = {
    "access_denied": "forbidden permission_denied not_authorized insufficient_permissions",
    "authorization_pending": "",
    "consent_required": "delegation_required admin_consent_required",
    "interaction_required": "mfa_required user_interaction_required",
    "invalid_client": (
        "bad_client bad_client_credentials bad_client_id bad_client_secret bad_credentials "
        "client_authentication_failed client_not_found incorrect_client_credentials "
        "invalid_api_key invalid_app_id invalid_client_credentials invalid_client_id "
        "invalid_client_identifier invalid_client_secret invalid_credentials invalid_secret "
        "unauthenticated unauthorized unknown_client unrecognized_client"
    ),
    "invalid_grant": "invalid_refresh_token bad_refresh_token token_expired token_revoked",
    "invalid_request": (
        "bad_request invalid_argument invalid_parameter malformed_request missing_parameter "
        "invalid_request_object invalid_request_uri request_not_supported"
    ),
    "invalid_scope": "invalid_scopes unknown_scope",
    "request_in_progress": (
        "concurrent_request conflicting_request duplicate_request operation_in_progress "
        "request_already_in_progress unable_to_lock_row"
    ),
    "server_error": (
        "fatal_error internal internal_error internal_failure internal_server internal_server_error"
    ),
    "slow_down": "",
    "temporarily_unavailable": (
        "backend_error bad_gateway deadline_exceeded gateway_timeout maintenance overloaded "
        "request_timeout server_busy service_unavailable system_unavailable temporary_failure "
        "temporarily_unavailable_error timeout try_again_later unavailable"
    ),
    "too_many_requests": (
        "limit_exceeded over_limit over_quota quota_exceeded quota_violation rate_exceeded "
        "rate_limit rate_limit_exceeded rate_limited request_limit_exceeded "
        "resource_exhausted spike_arrest_violation throttled throttling too_many_attempts "
        "too_many_request"
    ),
    "unauthorized_client": "client_not_allowed",
    "unsupported_grant_type": "invalid_grant_type unknown_grant_type",
}
"""Other names that servers have for these codes."""

BY_AADSTS = {
    "50013": Meaning(False, "The assertion is not valid now. Check this machine's clock."),
    "50034": Meaning(False, "The account is not in this tenant. Check tenant_id."),
    "50196": Meaning(True, "The client asks the same too often. Ask less often."),
    "53003": Meaning(
        False, "A conditional access policy forbids it. Ask the tenant's administrator."
    ),
    "65001": Meaning(False, "The application lacks consent. Have an administrator grant it."),
    "70011": Meaning(False, "The scope is not valid. For a client it ends in /.default."),
    "90002": Meaning(
        False, "The tenant does not exist. Check tenant_id, and the cloud that authority names."
    ),
    "90006": Meaning(True, f"Entra ID is temporarily unavailable. {_PERSISTS}"),
    "90012": Meaning(True, f"Entra ID timed out. {_PERSISTS}"),
    "90024": Meaning(True, f"Entra ID is temporarily unavailable. {_PERSISTS}"),
    "90033": Meaning(True, f"Entra ID is temporarily unavailable. {_PERSISTS}"),
    "90055": Meaning(True, "The tenant is asked too often. Ask less often."),
    "500011": Meaning(
        False,
        "The resource of the scope is not in this tenant. Check the scope and tenant_id.",
    ),
    "700016": Meaning(
        False, "The application is not in this tenant. Check client_id and tenant_id."
    ),
    "700024": Meaning(False, "The assertion is not valid now. Check this machine's clock."),
    "900023": Meaning(False, "The tenant is not a GUID or a domain. Check tenant_id."),
    "900382": Meaning(False, "The client may not be used across clouds. Check authority."),
    "1002012": Meaning(False, "The scope is not valid. For a client it ends in /.default."),
    "7000112": Meaning(False, "The application is disabled. Ask the tenant's administrator."),
    "7000215": Meaning(
        False, "Check client_secret: it is wrong. Set the secret's value, not its id."
    ),
    "7000222": Meaning(False, "The client secret has expired. Create a new one."),
}
"""By Entra ID's own number, which says more than its error code."""

STATUSES = {
    "401, 403": Meaning(False, "Check the client's id, secret and permissions."),
    "404, 405, 410": Meaning(False, "Check the URL of the token endpoint."),
    "406, 415": Meaning(False, "The server wants another format. Check accept and request_format."),
    "407": Meaning(False, "The proxy wants credentials. Set them in HTTPS_PROXY."),
    "408, 425": Meaning(True, _PERSISTS),
    "429": CODES["too_many_requests"],
    "5xx": Meaning(True, _PERSISTS),
    "other": Meaning(False, _ASK),
}
"""By HTTP status: it decides only where the body says nothing."""

_BY_GRANT = {
    "refresh_token": (
        "The refresh token has expired, was revoked, was used before or belongs to another "
        "client. A new one is needed."
    ),
    "authorization_code": "The code has expired, or was used before. Sign in again.",
    "urn:ietf:params:oauth:grant-type:device_code": "The code is not valid. Sign in again.",
    "urn:ietf:params:oauth:grant-type:jwt-bearer": (
        "The assertion has expired, or is not for this server. Check this machine's clock."
    ),
    "client_credentials": (
        "The server does not grant this client a token. Check client_id and client_secret, and "
        "have client credentials permitted for it."
    ),
}
_WITHOUT_A_PERSON = (
    "The server wants a person's consent, which a client alone cannot give. Have an administrator "
    "grant it for the application."
)
_AADSTS = re.compile(r"AADSTS(\d+)")
_SUFFIX = re.compile(r"(?:exception|error|fault)$")

_SPELLINGS = {name.replace("_", ""): (name, name) for name in CODES} | {
    alias.replace("_", ""): (alias, name)
    for name, more in ALIASES.items()
    for alias in more.split()
}


def judge(
    codes: Iterable[str],
    words: str,
    status: int | None,
    *,
    asked_to_wait: bool = False,
    grant: str | None = None,
) -> Verdict:
    """Return what a refusal means.

    A server that is working on this very request, or that says when to come back, may be asked
    again whatever else it says: a wrong secret with a ``Retry-After`` is tried again after that
    time, as often as the retry policy allows. Then the codes decide, then the words, and the
    status only where neither says anything.

    :param codes: the server's codes as it sent them, the most telling one first.
    :param words: its description as it sent it; "" if there is none.
    :param asked_to_wait: whether it sent a ``Retry-After`` that can be read.
    :param grant: the grant in use, by its ``grant_type``: advice depends on it.
    """
    codes, words = [*codes], words[:2000]
    verdict = _by_what_was_said(codes, words, grant) or status_verdict(status, codes)
    if is_busy(words):
        return Verdict(*CODES["request_in_progress"], "request_in_progress")
    return verdict._replace(transient=True) if asked_to_wait else verdict


def status_verdict(status: int | None, codes: Iterable[str] = ()) -> Verdict:
    """Return what *status* means where nothing else says more."""
    if any(sounds_final(code) for code in codes):
        return Verdict(
            False, STATUSES["other" if status and status >= 500 else _row(status)].advice
        )
    return Verdict(*STATUSES[_row(status)])


def known_code(raw: str) -> str | None:
    """Return the code of :data:`CODES` that *raw* means, if it means one of those.

    Case, blanks, dashes and the decorations of vendors do not matter: ``INVALID_CLIENT``,
    ``invalid-client``, ``InvalidClientException``, ``oauth.v2.InvalidClient``.
    """
    return _look_up(raw)[1]


def spelling_of(raw: str) -> str | None:
    """Return *raw* as this module spells it, if it is a known code. It shows nothing of *raw*."""
    return _look_up(raw)[0]


def _look_up(raw: str) -> tuple[str, str] | tuple[None, None]:
    squeezed = re.sub(r"[^a-z0-9]", "", last_part(raw[:200]).lower())
    for form in (squeezed, _SUFFIX.sub("", squeezed)):
        for bare in (form, form.removeprefix("oauth2").removeprefix("oauth")):
            if bare in _SPELLINGS:
                return _SPELLINGS[bare]
    return None, None


def _by_what_was_said(codes: list[str], words: str, grant: str | None) -> Verdict | None:
    numbers = _AADSTS.findall(" ".join([*codes, words]))
    for number in numbers:
        if number in BY_AADSTS:
            known = next(filter(None, map(known_code, codes)), None)
            return Verdict(*BY_AADSTS[number], known or f"AADSTS{number}")
    in_words = code_in(words)
    if in_words == "client_certificate_required":
        return Verdict(*CODES[in_words], in_words)
    code = next(filter(None, map(known_code, codes)), None)
    # Servers use invalid_request for anything, so their words say more.
    if code in (None, "invalid_request") and in_words is None and (later := says_later(words)):
        return Verdict(*CODES[later], later)
    code = code or next(filter(None, map(sounds_transient, codes)), None) or in_words
    if code is None:
        return None
    return Verdict(CODES[code].transient, _advice(code, grant), code)


def _advice(code: str, grant: str | None) -> str:
    if code in ("invalid_grant", "invalid_token") and grant in _BY_GRANT:
        return _BY_GRANT[grant]
    if grant == "client_credentials" and CODES[code].advice == _PERSON:
        return _WITHOUT_A_PERSON
    return CODES[code].advice


def _row(status: int | None) -> str:
    for row in STATUSES:
        if str(status) in row.split(", "):
            return row
    return "5xx" if status is not None and 500 <= status <= 599 else "other"
