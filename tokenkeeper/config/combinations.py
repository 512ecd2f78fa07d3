"""Which keys of a block go together: what excludes each other, what is missing, what is unused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenkeeper.config.late_tokens import LATE_TOKENS, Note, check_late_token
from tokenkeeper.config.sign_in import SIGN_IN_GRANTS, SIGN_IN_KEYS, check_sign_in

__all__ = [
    "AUTH_METHODS",
    "auth_method_of",
    "check_any",
    "check_azure",
    "check_generic",
    "check_pairs",
]

SECRET = ("client_secret", "client_secret_file")

_PAIRS = (
    ("client_secret_file", "client_secret"),
    ("private_key_password_file", "private_key_password"),
    ("certificate_password_file", "certificate_password"),
    ("password_file", "password"),
)
"""Keys for one value: the second is the value itself, the first a file that contains it."""

_EXCLUSIVE = (
    ("token_url", "issuer"),
    ("grant_type", "grant"),
    ("client_assertion_file", "private_key_file"),
)

_NEEDED_BY_METHOD: Mapping[str, tuple[str, ...]] = {
    "client_secret_basic": SECRET,
    "client_secret_post": SECRET,
    "client_secret_jwt": SECRET,
    "none": (),
    "private_key_jwt": ("private_key_file", "client_assertion_file"),
    "tls_client_auth": ("certificate_file",),
    "self_signed_tls_client_auth": ("certificate_file",),
}
"""What each method of client authentication needs: one of these keys."""

AUTH_METHODS = tuple(_NEEDED_BY_METHOD)
"""The methods of client authentication, by their names in RFC 7591 §2 and RFC 8705 §2."""

_TLS = ("tls_client_auth", "self_signed_tls_client_auth")

_UNUSED_BY_METHOD: Mapping[str, tuple[str, ...]] = {
    # A secret may stay in a file, so that a client can become public by one key.
    "none": ("private_key_file", "client_assertion_file", "certificate_file"),
    "private_key_jwt": (*SECRET, "certificate_key_file"),
    **dict.fromkeys(
        ("client_secret_basic", "client_secret_post", "client_secret_jwt"),
        ("private_key_file", "client_assertion_file", "certificate_file"),
    ),
    **dict.fromkeys(_TLS, (*SECRET, "private_key_file", "client_assertion_file")),
}

_NEEDS = {
    "private_key_password": ("private_key_file",),
    "private_key_password_file": ("private_key_file",),
    "key_id": ("private_key_file",),
    "certificate_key_file": ("certificate_file",),
    "certificate_password": ("certificate_file",),
    "certificate_password_file": ("certificate_file",),
    "send_x5c": ("certificate_file",),
    "allow_bearer": ("dpop",),
}
"""Keys that mean nothing without another one."""

_OF_GRANT: Mapping[str, tuple[str, ...]] = {
    "subject_token": ("token_exchange",),
    "subject_token_type": ("token_exchange",),
    "actor_token": ("token_exchange",),
    "actor_token_type": ("token_exchange",),
    "requested_token_type": ("token_exchange",),
    "assertion": ("jwt_bearer",),
    "username": ("password",),
    "password": ("password",),
    "password_file": ("password",),
    "refresh_token_file": ("refresh_token",),
    "custody": ("refresh_token", *SIGN_IN_GRANTS),
    **SIGN_IN_KEYS,
}
"""Keys that only these grants use."""

_OWN_PARAMETERS = ("token_exchange", "jwt_bearer", "password", *SIGN_IN_GRANTS)
"""Grants whose parameters are keys of their own, never further parameters of the request."""

_NEEDED_BY_GRANT = {
    "jwt_bearer": (("assertion",),),
    "password": (("username",), ("password", "password_file")),
}

_SWITCHES = frozenset({"allow_bearer", "dpop", "managed_identity", "scope_by_refresh", "send_x5c"})

AZURE_CREDENTIALS = ("certificate_file", "federated_token_file", "managed_identity")


def is_set(content: Mapping[Any, Any], key: str) -> bool:
    """Return whether *content* sets *key*. A switch that is off does not count."""
    value = content.get(key)
    if key in _SWITCHES and (value is False or str(value).lower() == "false"):
        return False
    return value is not None


def auth_method_of(content: Mapping[Any, Any]) -> str:
    """Return the method of client authentication that a generic block sets, or implies."""
    method = content.get("token_endpoint_auth_method")
    if isinstance(method, str):
        return method
    implied = is_set(content, "private_key_file") or is_set(content, "client_assertion_file")
    return "private_key_jwt" if implied else "client_secret_basic"


def check_pairs(content: Mapping[Any, Any], note: Note) -> None:
    """Note what excludes each other in every block, and keys that mean nothing without another."""
    for key, other in _PAIRS:
        if is_set(content, key) and is_set(content, other):
            note((key,), f"can't be combined with {other}")
    for key, needed in _NEEDS.items():
        if is_set(content, key) and not _any(content, needed):
            note((key,), f"needs {' or '.join(needed)}")


def check_any(content: Mapping[Any, Any], note: Note) -> None:
    """Note what is missing in a block of an unknown kind."""
    _check_required(content, "client_id", note)
    others = [key for key in _UNUSED_BY_METHOD["none"] if is_set(content, key)]
    others += [key for key in AZURE_CREDENTIALS if is_set(content, key)]
    public = content.get("token_endpoint_auth_method") == "none"
    if not public and not others and not _any(content, SECRET):
        note(("client_secret",), "is missing. Set it, or client_secret_file")


def check_generic(content: Mapping[Any, Any], note: Note) -> None:
    """Note everything in a block of the kind ``generic`` that does not fit together."""
    for key, other in _EXCLUSIVE:
        if is_set(content, key) and is_set(content, other):
            note((key,), f"can't be combined with {other}")
    if not is_set(content, "issuer"):
        _check_required(content, "token_url", note, "is missing. Set it, or issuer")
    _check_endpoints(content, note)
    _check_required(content, "client_id", note)
    _check_method(content, note)
    _check_grant(content, note)
    check_sign_in(content, note)
    _check_parameters(content, note)
    for key in LATE_TOKENS:
        if is_set(content, key):
            check_late_token(key, content[key], note)


def check_azure(content: Mapping[Any, Any], note: Note) -> None:
    """Note everything in a block of the kind ``azure`` that does not fit together."""
    secret = [key for key in SECRET if is_set(content, key)][:1]
    given = [*secret, *(key for key in AZURE_CREDENTIALS if is_set(content, key))]
    for key in given[1:]:
        note((key,), f"can't be combined with {given[0]}")
    if not given:
        others = ", ".join(["client_secret_file", *AZURE_CREDENTIALS[:-1]])
        note(("client_secret",), f"is missing. Set it, {others} or {AZURE_CREDENTIALS[-1]}")
    if not is_set(content, "managed_identity"):
        _check_required(content, "client_id", note)
        _check_required(content, "tenant_id", note)
        return
    if is_set(content, "client_id"):
        note(
            ("client_id",),
            "can't be combined with managed_identity. Set managed_identity to the client id of the "
            "identity",
        )
    if not is_set(content, "scope") and not is_set(content, "scopes"):
        note(("scope",), "is missing. managed_identity needs it")
    keys = ("allowed_tenants", "authority", "client_capabilities", "region", "tenant_id", "verify")
    for key in keys:
        if is_set(content, key):
            note((key,), "can't be combined with managed_identity, whose platform decides it")


def _check_required(
    content: Mapping[Any, Any], key: str, note: Note, missing: str = "is missing"
) -> None:
    if content.get(key) is None:
        note((key,), "has no value" if key in content else missing)


def _check_endpoints(content: Mapping[Any, Any], note: Note) -> None:
    endpoints = content.get("endpoints")
    named = isinstance(endpoints, Mapping) and "token_endpoint" in endpoints
    if named and is_set(content, "token_url"):
        note(("endpoints", "token_endpoint"), "can't be combined with token_url")


def _check_method(content: Mapping[Any, Any], note: Note) -> None:
    """Note what the method of client authentication needs, and does not use."""
    method = auth_method_of(content)
    needed = _NEEDED_BY_METHOD.get(method)
    if needed is None:
        return  # its value is wrong, and reported as such
    explicit = is_set(content, "token_endpoint_auth_method")
    if is_set(content, "certificate_file") and not explicit and needed == SECRET:
        methods = " or ".join(_TLS)
        note(("certificate_file",), f"needs token_endpoint_auth_method: {methods}")
        return
    if needed and not _any(content, needed):
        first, *others = needed
        why = "" if needed == SECRET else f". token_endpoint_auth_method {method!r} needs it"
        note((first,), f"is missing{why}{_set_it_or(others)}")
    for key in _UNUSED_BY_METHOD[method]:
        if is_set(content, key):
            implied = next((each for each in needed if is_set(content, each)), "")
            other = f"token_endpoint_auth_method: {method}" if explicit else implied
            note((key,), f"can't be combined with {other}")
    _check_signature(content, method, note)


def _check_signature(content: Mapping[Any, Any], method: str, note: Note) -> None:
    """Note settings of an assertion that this client does not sign."""
    signs = method == "client_secret_jwt" or is_set(content, "private_key_file")
    for key in ("signing_alg", "client_assertion_audience"):
        if not is_set(content, key) or signs:
            continue
        if is_set(content, "client_assertion_file"):
            note((key,), "can't be combined with client_assertion_file, which is signed already")
        else:
            note((key,), "needs private_key_file, or token_endpoint_auth_method: client_secret_jwt")
    if is_set(content, "client_assertion_file") and is_set(content, "certificate_file"):
        note(("certificate_file",), "can't be combined with client_assertion_file")


def _check_grant(content: Mapping[Any, Any], note: Note) -> None:
    """Note what the grant needs, and what it does not use."""
    grant = content.get("grant")
    for key, owners in _OF_GRANT.items():
        if is_set(content, key) and grant not in owners:
            *most, last = owners
            listed = f"{', '.join(most)} or {last}" if most else last
            note((key,), f"is only valid with grant: {listed}")
    if is_set(content, "scope_by_refresh") and grant not in SIGN_IN_GRANTS:
        _check_refresh(content, note)
    first = content.get("additional_params")
    begun = isinstance(first, Mapping) and "refresh_token" in first
    if grant == "refresh_token" and not begun and not is_set(content, "refresh_token_file"):
        note(
            ("refresh_token_file",),
            "is missing. grant 'refresh_token' needs it, or refresh_token in additional_params",
        )
    for needed in _NEEDED_BY_GRANT.get(grant, ()) if isinstance(grant, str) else ():
        if not _any(content, needed):
            first, *others = needed
            note((first,), f"is missing. grant {grant!r} needs it{_set_it_or(others)}")


def _check_refresh(content: Mapping[Any, Any], note: Note) -> None:
    """Note a scope by refresh where no key of the block says where a refresh token comes from."""
    if not is_set(content, "refresh_token_file"):
        *most, last = SIGN_IN_GRANTS
        others = f"{', '.join(most)} or {last}"
        note(("scope_by_refresh",), f"needs refresh_token_file, or grant: {others}")


def _check_parameters(content: Mapping[Any, Any], note: Note) -> None:
    """Note parameters that a key of their own sets as well."""
    parameters = content.get("additional_params")
    if not isinstance(parameters, Mapping):
        return
    keys = [*LATE_TOKENS, "resource", "audience", "username", "password"]
    keys += ["subject_token_type", "actor_token_type", "requested_token_type"]
    keys += ["redirect_uri", "binding_message"]
    for key in keys:
        if key in parameters and is_set(content, key):
            note(("additional_params", key), f"can't be combined with the key {key}")
    if "refresh_token" in parameters and is_set(content, "refresh_token_file"):
        note(("additional_params", "refresh_token"), "can't be combined with refresh_token_file")
    if content.get("grant") in _OWN_PARAMETERS:
        for key, owners in _OF_GRANT.items():
            if content["grant"] in owners and key in parameters and not is_set(content, key):
                note(("additional_params", key), f"must be a key of its own: {key}")


def _any(content: Mapping[Any, Any], keys: Iterable[str]) -> bool:
    return any(is_set(content, key) for key in keys)


def _set_it_or(others: Iterable[str]) -> str:
    names = " or ".join(others)
    return f". Set it, or {names}" if names else ""
