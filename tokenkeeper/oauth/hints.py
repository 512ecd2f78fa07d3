"""What to do about a server's error code, in a few words."""

from __future__ import annotations

import re

__all__ = ["hint"]

# RFC 6749 §5.2 and §4.1.2.1, RFC 8707 §2
_BY_ERROR = {
    "access_denied": "the client lacks a permission: ask the server's operator",
    "invalid_client": "check client_id and client_secret: wrong, expired, or sent the wrong way",
    "invalid_grant": "what was presented is expired, revoked or of another client: sign in anew",
    "invalid_request": "a parameter is missing or wrong: check additional_params and scope",
    "invalid_resource": "this client may not ask for this resource: correct it",
    "invalid_scope": "this client may not ask for this scope: correct it, or have it permitted",
    "invalid_target": "this client may not ask for this resource: correct it",
    "server_error": "the server fails: if it lasts, ask its operator",
    "temporarily_unavailable": "the server is overloaded: if it lasts, ask its operator",
    "unauthorized_client": "this client may not use this grant: have it permitted at the server",
    "unsupported_grant_type": "this server does not know the grant: check the token endpoint",
}

# Entra's own numbers say more than its error codes do.
_BY_AADSTS = {
    "50013": "the assertion is not valid now: check this machine's clock",
    "50034": "the account is not in this tenant: check tenant_id",
    "53003": "a conditional access policy forbids it: ask the tenant's administrator",
    "65001": "the application lacks consent: have an administrator grant it",
    "70011": "the scope is not valid: for a client it ends in /.default",
    "90002": "the tenant does not exist: check tenant_id, and the cloud that authority names",
    "500011": "the resource of the scope is not in this tenant: check the scope and tenant_id",
    "700016": "the application is not in this tenant: check client_id and tenant_id",
    "700024": "the assertion is not valid now: check this machine's clock",
    "900023": "the tenant is no GUID and no domain: check tenant_id",
    "900382": "the client may not be used across clouds: check authority",
    "1002012": "the scope is not valid: for a client it ends in /.default",
    "7000112": "the application is disabled: ask the tenant's administrator",
    "7000215": "the secret is wrong: set the secret's value, not its id",
    "7000222": "the secret has expired: make a new one",
}

_AADSTS = re.compile(r"AADSTS(\d+)")


def hint(error: str | None, description: str | None) -> str | None:
    """Return what to do about *error*, or ``None`` for one that is not known."""
    number = _AADSTS.search(description or "")
    if number and number[1] in _BY_AADSTS:
        return _BY_AADSTS[number[1]]
    return _BY_ERROR.get(error or "")
