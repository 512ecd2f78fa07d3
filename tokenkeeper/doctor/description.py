"""A provider's ``describe()``, and what of it is safe to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenkeeper._support.checks import names_a_secret, shown_url
from tokenkeeper.oauth.redaction import HIDDEN, sanitize
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["read_description", "shown_description", "unusual_entries"]

MAX_LENGTH = 200
"""The most characters of a value to show."""

MAX_ENTRIES = 50
"""The most entries of a description, and items of a list, to show."""

_SHOWN_ELSEWHERE = frozenset({"type", "token_url", "client_id", "scope"})
_USUAL = {
    "allowed_tenants": [],
    "grant_type": "client_credentials",
    "headers": [],
    "refresh_tokens": False,
    "request_format": "form",
    "token_endpoint_auth_method": "client_secret_basic",
}


def read_description(provider: BaseOAuth2Provider) -> dict[str, Any]:
    """Return the entries of ``provider.describe()``, or one that names the error it raised."""
    try:
        entries = provider.describe()
        return dict(entries) if isinstance(entries, Mapping) else {}
    except Exception as error:  # noqa: BLE001 - its text may contain a secret
        return {"describe": f"raised {type(error).__name__}"}


def shown_description(description: Mapping[str, Any], secrets: Iterable[str]) -> dict[str, Any]:
    """Return *description* as JSON can hold it and a terminal can show it.

    A custom class may describe too much. So *secrets* are hidden, and so are values whose name
    says that they are secret.
    """
    hidden = list(secrets)
    return {
        sanitize(name, hidden, limit=MAX_LENGTH): HIDDEN
        if value and not isinstance(value, bool) and _is_secret(str(name))
        else _plain(value, hidden)
        for name, value in list(description.items())[:MAX_ENTRIES]
    }


def unusual_entries(description: Mapping[str, Any], *, custom: bool) -> dict[str, Any]:
    """Return the entries to show on a screen: all of a *custom* class, else those not by default.

    :param description: the description, safe to show.
    """
    if custom:
        return {name: value for name, value in description.items() if name != "type"}
    return {
        name: value
        for name, value in description.items()
        if name not in _SHOWN_ELSEWHERE and name in _USUAL and value != _USUAL[name]
    }


def _is_secret(name: str) -> bool:
    return name not in _USUAL and name not in _SHOWN_ELSEWHERE and names_a_secret(name)


def _plain(value: Any, secrets: list[str]) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each, secrets) for each in list(value)[:MAX_ENTRIES]]
    text = str(value)
    if text.startswith(("https://", "http://")):
        text = shown_url(text)
    return sanitize(text, secrets, limit=MAX_LENGTH)
