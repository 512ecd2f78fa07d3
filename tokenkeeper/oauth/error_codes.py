"""What error codes and statuses mean: whether a retry may help, and what to do. The one table.

It feeds the retries (``TokenAcquisitionError.transient``), the advice in messages, the doctor, the
labels of metrics, and ``docs/reference/errors.md``. :mod:`tokenkeeper.oauth.verdict` applies it. It
imports nothing from the package except :mod:`tokenkeeper.oauth.phrases`, so the exceptions can use
it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tokenkeeper.oauth.phrases import last_part

__all__ = ["ALIASES", "BY_AADSTS", "CODES", "STATUSES", "Meaning", "known_code", "spelling_of"]


class Meaning(NamedTuple):
    """One row of the table.

    :ivar transient: whether the same request may succeed later.
    :ivar advice: what to do, in a sentence or two.
    """

    transient: bool
    advice: str


_PERSISTS = "If this persists, contact the server's operator."
_SIGN_IN = (
    "The server requires a user to sign in or to consent. Have an administrator grant consent, or "
    "sign in again."
)
_SCOPE = "This client may not request this scope. Correct it, or have the server allow it."
_RESOURCE = "This client may not request this resource. Correct it, or have the server allow it."
_PERMISSION = "The client lacks a permission. Ask the server's operator to grant it."
_TOO_OFTEN = "The client sends too many requests. Send them less often."
_USER_CODE = (
    "The server requires the person's user_code, which is not supported. Have the server not "
    "require it for this client."
)
_ENTRA_UNAVAILABLE = f"Entra ID is temporarily unavailable. {_PERSISTS}"
_ENTRA_SCOPE = "The scope is not valid. For client credentials it must end in /.default."
_ASSERTION_TIME = "The assertion is not valid at this time. Check this machine's clock."

CODES = {
    # RFC 6749 §5.2
    "invalid_client": Meaning(
        False,
        "Check client_id and client_secret. The secret may be wrong, expired, or sent by the wrong "
        "token_endpoint_auth_method.",
    ),
    "invalid_grant": Meaning(
        False,
        "The grant or refresh token has expired, was revoked, or was issued to another client.",
    ),
    "invalid_request": Meaning(
        False, "A parameter is missing or invalid. Check additional_params and scope."
    ),
    "invalid_scope": Meaning(False, _SCOPE),
    "unauthorized_client": Meaning(
        False, "This client may not use this grant type. Have the server allow it."
    ),
    "unsupported_grant_type": Meaning(
        False,
        "The server does not support this grant type. Check that token_url is the token endpoint.",
    ),
    # RFC 6749 §4.1.2.1
    "access_denied": Meaning(False, _PERMISSION),
    "unsupported_response_type": Meaning(
        False, "This is not a token endpoint. Check that token_url is the token endpoint."
    ),
    "server_error": Meaning(True, f"The server failed. {_PERSISTS}"),
    "temporarily_unavailable": Meaning(True, f"The server is overloaded or down. {_PERSISTS}"),
    # RFC 6750 §3.1; token endpoints send these too
    "invalid_token": Meaning(False, "The token that was sent has expired or was revoked."),
    "insufficient_scope": Meaning(False, _PERMISSION),
    # RFC 7009 §2.2.1
    "unsupported_token_type": Meaning(
        False,
        "The server does not do this with tokens of this kind. A JWT, for example, often can't be "
        "revoked, and is valid until it expires.",
    ),
    # RFC 8707 §2, RFC 9396 §5, and Entra ID
    "invalid_target": Meaning(False, _RESOURCE),
    "invalid_resource": Meaning(False, _RESOURCE),
    "invalid_authorization_details": Meaning(
        False,
        "The server rejects authorization_details. Correct them, or have the server allow them.",
    ),
    # OpenID Connect Core §3.1.2.6, RFC 9470 §3
    "interaction_required": Meaning(False, _SIGN_IN),
    "login_required": Meaning(False, _SIGN_IN),
    "consent_required": Meaning(False, _SIGN_IN),
    "account_selection_required": Meaning(False, _SIGN_IN),
    "unmet_authentication_requirements": Meaning(False, _SIGN_IN),
    "insufficient_user_authentication": Meaning(False, _SIGN_IN),
    # RFC 8628 §3.5
    "authorization_pending": Meaning(True, "The user has not approved the request yet."),
    "expired_token": Meaning(False, "The user did not approve the request in time. Start again."),
    "slow_down": Meaning(True, _TOO_OFTEN),
    # CIBA Core §13
    "expired_login_hint_token": Meaning(False, "The login_hint_token has expired. Get a new one."),
    "invalid_binding_message": Meaning(
        False, "The server does not accept the binding_message. Use a short one of plain letters."
    ),
    "missing_user_code": Meaning(False, _USER_CODE),
    "invalid_user_code": Meaning(False, _USER_CODE),
    "unknown_user_id": Meaning(False, "The server does not know the person that the hint names."),
    # RFC 9449 §5, §8
    "invalid_dpop_proof": Meaning(
        False,
        "The server rejects the DPoP proof. Check this machine's clock, and that the server "
        "supports the key's algorithm.",
    ),
    "use_dpop_nonce": Meaning(
        False,
        "The server requires DPoP proofs with a nonce. Set dpop=True. If it is set, the server "
        "does not accept the nonce that it has just sent: contact its operator.",
    ),
    # Our names for what servers report in many ways, or in prose only
    "client_certificate_required": Meaning(
        False,
        "The server requires a TLS client certificate. Authenticate with TlsClientAuth, pass a "
        "requests session that has a certificate as session=, or use a token endpoint that does "
        "not require one.",
    ),
    "request_in_progress": Meaning(
        True, "The server is already processing the same request. Try again in a moment."
    ),
    "too_many_requests": Meaning(
        True,
        "The client sends too many requests. Send them less often, or ask the server's operator "
        "for a higher limit.",
    ),
}
"""By code. A code decides at any status: some servers send ``invalid_client`` with a 503."""

ALIASES = {
    "access_denied": (
        "authorization_declined forbidden insufficient_permissions not_authorized permission_denied"
    ),
    "authorization_pending": "",
    "consent_required": "delegation_required admin_consent_required",
    "expired_token": "code_expired device_code_expired",
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
"""Other spellings that servers use for these codes."""

BY_AADSTS = {
    "50013": Meaning(False, _ASSERTION_TIME),
    "50034": Meaning(False, "The account does not exist in this tenant. Check tenant_id."),
    "50196": Meaning(True, "The client repeats the same request too often. Send it less often."),
    "53003": Meaning(
        False, "A conditional access policy blocks the request. Ask the tenant's administrator."
    ),
    "65001": Meaning(False, "The application lacks consent. Have an administrator grant it."),
    "70011": Meaning(False, _ENTRA_SCOPE),
    "90002": Meaning(
        False, "The tenant does not exist. Check tenant_id, and the cloud that authority names."
    ),
    "90006": Meaning(True, _ENTRA_UNAVAILABLE),
    "90012": Meaning(True, f"Entra ID timed out. {_PERSISTS}"),
    "90024": Meaning(True, _ENTRA_UNAVAILABLE),
    "90033": Meaning(True, _ENTRA_UNAVAILABLE),
    "90055": Meaning(True, "The tenant receives too many requests. Send them less often."),
    "500011": Meaning(
        False,
        "The scope's resource does not exist in this tenant. Check the scope and tenant_id.",
    ),
    "700016": Meaning(
        False, "The application does not exist in this tenant. Check client_id and tenant_id."
    ),
    "700024": Meaning(False, _ASSERTION_TIME),
    "900023": Meaning(False, "The tenant is not a GUID or a domain. Check tenant_id."),
    "900382": Meaning(False, "The client can't be used across clouds. Check authority."),
    "1002012": Meaning(False, _ENTRA_SCOPE),
    "7000112": Meaning(False, "The application is disabled. Ask the tenant's administrator."),
    "7000215": Meaning(False, "The client_secret is wrong. Set the secret's value, not its id."),
    "7000222": Meaning(False, "The client secret has expired. Create a new one."),
}
"""By Entra ID's own number, which is more precise than its error code."""

STATUSES = {
    "401, 403": Meaning(False, "Check client_id, client_secret and the client's permissions."),
    "404, 405, 410": Meaning(False, "Check the URL of the token endpoint."),
    "406, 415": Meaning(
        False, "The server expects another format. Check accept and request_format."
    ),
    "407": Meaning(False, "The proxy requires credentials. Set them in HTTPS_PROXY."),
    "408, 425": Meaning(True, _PERSISTS),
    "429": CODES["too_many_requests"],
    "5xx": Meaning(True, _PERSISTS),
    "other": Meaning(False, "Check the request with the server's operator."),
}
"""By HTTP status, which decides only where the body says nothing."""

_SUFFIX = r"(?:exception|error|fault)$"
_SPELLINGS = {name.replace("_", ""): (name, name) for name in CODES} | {
    alias.replace("_", ""): (alias, name)
    for name, more in ALIASES.items()
    for alias in more.split()
}


def known_code(raw: str) -> str | None:
    """Return the code of :data:`CODES` that *raw* means, or ``None``.

    Case, spaces, dashes and vendors' decorations do not matter: ``INVALID_CLIENT``,
    ``invalid-client``, ``InvalidClientException``, ``oauth.v2.InvalidClient``.
    """
    return _look_up(raw)[1]


def spelling_of(raw: str) -> str | None:
    """Return *raw* in this module's own spelling if it is a known code, or ``None``.

    The result is a constant of this module, so it can't leak anything that *raw* contains.
    """
    return _look_up(raw)[0]


def _look_up(raw: str) -> tuple[str, str] | tuple[None, None]:
    squeezed = re.sub(r"[^a-z0-9]", "", last_part(raw[:200]).lower())
    for form in (squeezed, re.sub(_SUFFIX, "", squeezed)):
        for bare in (form, form.removeprefix("oauth2").removeprefix("oauth")):
            if bare in _SPELLINGS:
                return _SPELLINGS[bare]
    return None, None
