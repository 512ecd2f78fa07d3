"""The keys of grants that begin with a sign-in: which of them go together, and the grant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.checks import checked_words
from tokenkeeper.config.late_tokens import Note
from tokenkeeper.config.problems import KeyPath
from tokenkeeper.exceptions import InvalidConfigurationError

if TYPE_CHECKING:
    from tokenkeeper.oauth.late_text import LateText
    from tokenkeeper.providers.grants.base import Grant

__all__ = ["SIGN_IN_GRANTS", "SIGN_IN_KEYS", "check_sign_in", "sign_in_grant", "with_sign_in"]

_ENDPOINTS = {
    "authorization_code": "authorization_endpoint",
    "device_code": "device_authorization_endpoint",
    "ciba": "backchannel_authentication_endpoint",
}
"""Where each grant begins."""

SIGN_IN_GRANTS = tuple(_ENDPOINTS)
"""The grants that a person begins by signing in, by their names in a configuration."""

_HINTS = ("login_hint", "login_hint_token", "id_token_hint")

SIGN_IN_KEYS: Mapping[str, tuple[str, ...]] = {
    "redirect_uri": ("authorization_code",),
    "redirect_port": ("authorization_code",),
    "par": ("authorization_code",),
    "authorize_parameters": SIGN_IN_GRANTS,
    **dict.fromkeys((*_HINTS, "binding_message"), ("ciba",)),
}
"""Keys that only these grants use."""


def check_sign_in(content: Mapping[Any, Any], note: Note) -> None:
    """Note what the grant of a generic block needs for a sign-in, and what excludes each other."""
    grant = content.get("grant")
    if not isinstance(grant, str) or grant not in _ENDPOINTS:
        return
    endpoint = _ENDPOINTS[grant]
    if not _can_be_found(content, endpoint):
        place = "" if content.get("token_url") is None else " in place of token_url"
        note(("issuer",), f"is missing. grant {grant!r} needs it{place}, or endpoints.{endpoint}")
    pushed = "pushed_authorization_request_endpoint"
    if str(content.get("par")).lower() == "true" and not _can_be_found(content, pushed):
        note(("par",), f"needs issuer, or endpoints.{pushed}")
    _check_one(content, ("redirect_uri", "redirect_port"), note)
    _check_one(content, _HINTS, note)


def _can_be_found(content: Mapping[Any, Any], endpoint: str) -> bool:
    """Return whether the URL of *endpoint* is known, or the server's metadata may name it."""
    endpoints = content.get("endpoints")
    named = isinstance(endpoints, Mapping) and endpoints.get(endpoint) is not None
    return named or content.get("issuer") is not None


def _check_one(content: Mapping[Any, Any], keys: tuple[str, ...], note: Note) -> None:
    """Note all but the first of *keys* that are set."""
    first, *others = [*(key for key in keys if content.get(key) is not None), ""]
    for key in filter(None, others):
        note((key,), f"can't be combined with {first}")


def with_sign_in(content: Mapping[str, Any], grant: str, name: str) -> dict[str, Any]:
    """Return what to change in a generic block so that its sign-in is another *grant*.

    :param name: the provider's name, for messages.
    :raises InvalidConfigurationError: naming what is missing for it.
    """
    changes: dict[str, Any] = {
        key: None for key, owners in SIGN_IN_KEYS.items() if grant not in owners
    }
    changes["grant"] = grant

    def note(path: KeyPath, what: str) -> None:
        key = str(path[0])
        raise InvalidConfigurationError(
            f"provider {name!r}: {key} {what}", provider_name=name, field=key
        )

    check_sign_in({**content, **changes}, note)
    return changes


def sign_in_grant(
    content: Mapping[str, Any], late: Callable[[str], LateText | str | None]
) -> Grant:
    """Return the grant with a sign-in that a generic block describes.

    :param late: returns what a key's value is read from.
    :raises InvalidConfigurationError: naming the key that can't work.
    """
    # Some servers revoke a refresh token that is used for a resource that was not authorized.
    resources = checked_words(content.get("resource"), "resource") or None
    options: dict[str, Any] = {
        "resources": resources,
        "scope_by_refresh": bool(content.get("scope_by_refresh")),
    }
    grant = content["grant"]
    for key in ("redirect_uri", "redirect_port", "par", "authorize_parameters"):
        if content.get(key) is not None:
            options[key] = content[key]
    if grant == "authorization_code":
        from tokenkeeper.providers.grants.authorization_code import AuthorizationCode

        return AuthorizationCode(**options)
    if grant == "device_code":
        from tokenkeeper.providers.grants.device_code import DeviceCode

        return DeviceCode(**options)
    from tokenkeeper.providers.grants.ciba import Ciba

    for key in _HINTS:
        if content.get(key) is not None:
            options[key] = late(key)
    if content.get("binding_message") is not None:
        options["binding_message"] = content["binding_message"]
    return Ciba(**options)
