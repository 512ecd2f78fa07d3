"""Whose tokens credentials of google-auth get, for processes that share a store."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

from tokenkeeper.providers.this_machine import this_machine

__all__ = ["identity_of"]

_STATED = (
    *("_service_account_email", "_service_identity_name", "_issuer", "_subject", "_audience"),
    *("_target_principal", "_target_audience", "_target_scopes", "_delegates", "_include_email"),
    *("_scopes", "_default_scopes", "_additional_claims", "_universe_domain", "_client_id"),
    *("_token_uri", "_token_url", "_subject_token_type", "_credential_source"),
    *("_service_account_impersonation_url", "_workforce_pool_user_project"),
)
"""Attributes of google-auth's credentials that make their tokens different from others'."""

_NAMES = (
    *("_service_account_email", "_service_identity_name", "_issuer"),
    *("_service_account_impersonation_url", "_refresh_token"),
)
"""Attributes of which one says whose the tokens are."""

_BELOW = ("_source_credentials", "_target_credentials")
"""Attributes with the credentials that others are based on."""


def identity_of(credentials: object) -> str:
    """Return a digest of what *credentials* state about whose tokens they get.

    Equal credentials of two processes have the same one. Credentials that don't state it, such as
    those of a user's own class, have one that only forked children share.
    """
    text = json.dumps(_stated_by(credentials), sort_keys=True, default=_plain)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _plain(value: object) -> object:
    """Return *value* as JSON has it; a set in an order that another process sees as well."""
    return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _stated_by(credentials: object) -> Mapping[str, Any]:
    stated = {name: getattr(credentials, name, None) for name in (*_STATED, *_NAMES)}
    for name in _BELOW:
        below = getattr(credentials, name, None)
        stated[name] = None if below is None else _stated_by(below)
    if stated["_service_account_email"] == "default":
        stated["machine"] = this_machine()
    if not _is_named(stated):
        stated["here"] = secrets.token_hex(16)
    return {"class": type(credentials).__qualname__, **stated}


def _is_named(stated: Mapping[str, Any]) -> bool:
    """Return whether it is known whose tokens these are."""
    if any(stated[name] for name in (*_NAMES, *_BELOW)):
        return True
    source = stated["_credential_source"]  # of an external account; a role at AWS is not stated
    return (
        isinstance(source, Mapping)
        and "environment_id" not in source
        and bool(source.get("file") or source.get("url"))
    )
