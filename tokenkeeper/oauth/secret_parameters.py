"""Which parameters of a request are secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenkeeper._support.checks import names_a_secret

__all__ = ["SECRET_PARAMETERS", "secret_values"]

SECRET_PARAMETERS = frozenset(
    {"actor_token", "assertion", "auth_req_id", "client_assertion", "client_secret", "code"}
    | {"code_verifier", "device_code", "id_token_hint", "login_hint_token", "password"}
    | {"refresh_token", "state", "subject_token", "token"}
)
"""Parameters of OAuth2 that no message may show. None identifies the client: each may change."""


def secret_values(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values that are secrets by name; others may be shown, to help find a mistake."""
    for name, value in parameters.items():
        if isinstance(value, bool) or not (name in SECRET_PARAMETERS or names_a_secret(name)):
            continue
        yield from map(str, value) if isinstance(value, (list, tuple)) else [str(value)]
