"""Validates configuration values. Each failure names the field and what to do."""

from __future__ import annotations

import ipaddress
import re
import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = [
    "CONTROL",
    "checked_endpoint",
    "checked_host",
    "checked_parameters",
    "checked_scope",
    "checked_seconds",
    "checked_switch",
    "checked_tenant",
    "checked_tenants",
    "checked_text",
    "checked_words",
    "is_loopback",
    "names_a_secret",
    "one_scope",
    "secrets_in_query",
    "shown_url",
]

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")  # os.environ's replacement for bytes that are not UTF-8
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 §3.3, scope-token
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")  # not "..", which is part of a path
_SECRET_NAME = re.compile(
    r"secret|pass(?:word|wd|code|phrase)|token(?!_(?:type|format))|assertion|credential|proof|pin$"
    r"|key|code|otp",
    re.IGNORECASE,
)
_GRANT_PARAMETERS = frozenset(
    {
        "client_assertion",
        "client_assertion_type",
        "client_id",
        "client_secret",
        "grant_type",
        "scope",
    }
)

_NO_PARAMETERS: Mapping[str, Any] = MappingProxyType({})


def checked_text(value: object, field_name: str, provider_name: str | None = None) -> str:
    """Return *value* if it is a non-blank string without control characters."""
    if not isinstance(value, str):
        problem = f"must be a string, not {type(value).__name__}"
    elif not value.strip():
        problem = "is empty. Set it, or check the variable that it comes from."
    elif _SURROGATE.search(value):
        problem = "contains a byte that is not UTF-8. Check where it comes from."
    elif CONTROL.search(value):
        problem = "contains a control character, such as a line break that was copied along with it"
    else:
        return value
    raise _invalid(problem, field_name, provider_name)


def checked_words(
    value: object, field_name: str, provider_name: str | None = None
) -> tuple[str, ...]:
    """Return *value*, a string or several, as a tuple; ``None`` gives an empty one."""
    if value is None:
        return ()
    if isinstance(value, str):
        value = (value,)
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        problem = f"must be a string or a list of strings, not {type(value).__name__}"
        raise _invalid(problem, field_name, provider_name)
    return tuple(checked_text(each, field_name, provider_name) for each in value)


def checked_endpoint(value: object, field_name: str, provider_name: str | None = None) -> str:
    """Return *value* if it is a URL that may receive a secret (RFC 6749 §3.2)."""
    url = checked_text(value, field_name, provider_name)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its text quotes parts of the URL, perhaps a password
        problem = "is not a valid URL. Check its host and port."
        raise _invalid(problem, field_name, provider_name) from None
    if parts.scheme not in ("https", "http") or not host:
        problem = "must be an absolute https:// URL"
    elif any(character.isspace() or character == "\\" for character in url):
        problem = "must not contain white space or a backslash"
    elif parts.username is not None or parts.password is not None:
        problem = "must not contain credentials, as URLs end up in logs"
    elif "#" in url:
        problem = "must not contain a fragment (RFC 6749 §3.2)"
    elif parts.scheme == "http" and not is_loopback(host):
        problem = "must be https:// unless the host is loopback: it carries a secret"
    else:
        return url
    raise _invalid(problem, field_name, provider_name)


def checked_seconds(value: object, field: str) -> float:
    """Return *value* if it is a number of seconds, more than 0 and not too large to wait."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value <= threading.TIMEOUT_MAX
    ):
        raise InvalidConfigurationError(
            f"{field} must be a number of seconds, more than 0", field=field
        )
    return float(value)


def checked_switch(value: object, field_name: str, provider_name: str | None = None) -> bool:
    """Return *value* if it is ``True`` or ``False``."""
    if not isinstance(value, bool):
        problem = f"must be True or False, not {type(value).__name__}"
        raise _invalid(problem, field_name, provider_name)
    return value


def checked_scope(value: object, field_name: str, provider_name: str | None = None) -> str | None:
    """Return *value*, a string or an iterable of scope tokens, in the form of RFC 6749 §3.3."""
    if value is None:
        return None
    if isinstance(value, str):
        scopes: list[object] = list(value.split(" "))
    elif isinstance(value, Iterable) and not isinstance(value, Mapping):
        scopes = list(value)
    else:
        problem = f"must be a string or a list of strings, not {type(value).__name__}"
        raise _invalid(problem, field_name, provider_name)
    for scope in scopes:
        if not isinstance(scope, str):
            problem = f"must contain only strings, not {type(scope).__name__}"
            raise _invalid(problem, field_name, provider_name)
        if scope and not _SCOPE_TOKEN.fullmatch(scope):
            problem = f"contains a character that RFC 6749 §3.3 forbids: {scope!r}"
            raise _invalid(problem, field_name, provider_name)
    return " ".join(str(scope) for scope in scopes if scope) or None


def one_scope(scope: object, scopes: object, provider_name: str) -> str | None:
    """Return the scope that was given, under its name or under its older name ``scopes``.

    :raises InvalidConfigurationError: if both were given, or the value is invalid.
    """
    if scopes is None:
        return checked_scope(scope, "scope", provider_name)
    if scope is not None:
        problem = "can't be combined with scope, which is another name for it"
        raise _invalid(problem, "scopes", provider_name)
    return checked_scope(scopes, "scopes", provider_name)


def checked_parameters(
    value: object, field_name: str, provider_name: str | None = None
) -> Mapping[str, Any]:
    """Return *value*, parameters beside the grant's own, as an immutable mapping."""
    if value is None:
        return _NO_PARAMETERS
    if not isinstance(value, Mapping):
        raise _invalid("must be a mapping of names to values", field_name, provider_name)
    parameters: dict[str, Any] = {}
    for name, content in value.items():
        if not isinstance(name, str) or not name:
            raise _invalid("must have strings as its keys", field_name, provider_name)
        if name in _GRANT_PARAMETERS:
            advice = ": set grant_type itself" if name == "grant_type" else ""
            problem = f"must not override the grant's own parameter {name!r}{advice}"
            raise _invalid(problem, field_name, provider_name)
        if isinstance(content, (str, int)):  # a boolean is an int
            parameters[name] = content
        elif isinstance(content, (list, tuple)) and all(isinstance(c, (str, int)) for c in content):
            parameters[name] = tuple(content)
        else:
            problem = (
                f"must contain strings, integers, booleans or lists of these, but {name!r} has the "
                f"type {type(content).__name__}. Put its value in quotes."
            )
            raise _invalid(problem, field_name, provider_name)
    return MappingProxyType(parameters)


def secrets_in_query(url: str) -> list[str]:
    """Return the values in *url*'s query that are secrets by their names."""
    query = parse_qsl(url.partition("?")[2].partition("#")[0])
    return [value for name, value in query if names_a_secret(name)]


def shown_url(url: str) -> str:
    """Return *url* without its query and credentials, which may contain secrets."""
    scheme, separator, place = url.partition("?")[0].partition("://")
    host, slash, path = place.partition("/")
    return scheme + separator + host.rpartition("@")[2] + slash + path


def names_a_secret(parameter: str) -> bool:
    """Return whether a value is a secret by its name, such as ``password`` or ``api_key``."""
    return _SECRET_NAME.search(parameter) is not None


def checked_tenant(value: object, field_name: str, provider_name: str | None = None) -> str:
    """Return *value* if it can be a tenant of Entra ID: a GUID or a domain."""
    tenant = checked_text(value, field_name, provider_name)
    if not _TENANT.fullmatch(tenant):
        raise _invalid("must be a GUID or a domain", field_name, provider_name)
    return tenant


def checked_tenants(value: object, field_name: str) -> tuple[str, ...]:
    """Return *value*, one tenant or several, in lower case; ``*`` stands for every tenant."""
    tenants = checked_words(value, field_name)
    return tuple(
        each if each == "*" else checked_tenant(each, field_name).lower() for each in tenants
    )


def checked_host(value: object, field_name: str, provider_name: str | None = None) -> str:
    """Return *value*, an authority's host with or without ``https://``, as a URL."""
    host = checked_text(value, field_name, provider_name).strip()
    if "://" not in host:
        host = f"https://{host}"
    url = checked_endpoint(host, field_name, provider_name).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.path or "?" in url:
        problem = "must be an https:// host without a path: the tenant is appended"
        raise _invalid(problem, field_name, provider_name)
    return url


def is_loopback(host: str) -> bool:
    """Return whether *host* is this machine, so that traffic to it does not leave it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _invalid(problem: str, field_name: str, provider_name: str | None) -> InvalidConfigurationError:
    prefix = f"provider {provider_name!r}: " if provider_name else ""
    return InvalidConfigurationError(
        f"{prefix}{field_name} {problem}", provider_name=provider_name, field=field_name
    )
