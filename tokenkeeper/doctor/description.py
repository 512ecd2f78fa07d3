"""What a provider says of itself, made fit to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tokenkeeper._support.checks import names_a_secret, shown_url
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["description_of", "worth_showing"]

LONGEST = 200
"""Characters of a value."""

MOST = 50
"""Entries of a description, and items of a list."""

_SHOWN_ELSEWHERE = frozenset({"type", "token_url", "client_id", "scope"})
_USUAL = {
    "grant_type": "client_credentials",
    "headers": [],
    "refresh_tokens": False,
    "request_format": "form",
    "token_endpoint_auth_method": "client_secret_basic",
}


def description_of(provider: BaseOAuth2Provider, secrets: Iterable[str] = ()) -> dict[str, Any]:
    """Return what ``provider.describe()`` says, as JSON can hold it and a terminal can show it.

    A class of somebody's own may say too much, so *secrets* are hidden, and what is a secret by
    its name. One that raises says nothing else.
    """
    hidden = list(secrets)
    try:
        said = provider.describe()
        entries = list(said.items())[:MOST] if isinstance(said, Mapping) else []
    except Exception as error:  # noqa: BLE001 - its text may hold a secret
        return {"describe": f"raised {type(error).__name__}"}
    return {
        sanitize(name, hidden, limit=LONGEST): "[hidden]"
        if value and not isinstance(value, bool) and _is_secret(str(name))
        else _plain(value, hidden)
        for name, value in entries
    }


def worth_showing(description: Mapping[str, Any], *, custom: bool) -> dict[str, Any]:
    """Return of *description* what is shown on a screen: of our own kinds what is unusual."""
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
        return [_plain(each, secrets) for each in list(value)[:MOST]]
    text = str(value)
    if text.startswith(("https://", "http://")):
        text = shown_url(text)
    return sanitize(text, secrets, limit=LONGEST)
