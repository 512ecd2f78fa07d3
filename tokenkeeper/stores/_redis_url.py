"""The URLs of the store in Redis.

============================================================  ====================================
``redis://[user:password@]host[:6379][/database]``            one server
``redis+sentinel://[...@]host[:26379],host.../name[/db]``     the primary that Sentinels call *name*
``redis+cluster://[...@]host[:6379],host...``                 a Cluster, from any of its servers
``rediss://``, ``rediss+sentinel://``, ``rediss+cluster://``  the same with TLS
============================================================  ====================================

The query holds options of redis-py's connections, such as ``ssl_ca_certs``. Those that begin with
``sentinel_`` are for the connections to Sentinels, which get no others than those of TLS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from redis.connection import URL_QUERY_ARGUMENT_PARSERS
from redis.exceptions import RedisError

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.stores import _redis_connection as connections

__all__ = ["Target", "parse"]

_URL = re.compile(
    r"(?P<scheme>rediss?)(?:\+(?P<kind>sentinel|cluster))?://"
    r"(?:(?P<user>[^:/?#]*)(?::(?P<password>[^/?#]*))?@)?"
    r"(?P<hosts>[^/?#@]+)(?P<path>/[^?#@]*)?(?:\?(?P<query>[^#]*))?",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:\[(?P<v6>[\da-fA-F:.%]+)\]|(?P<name>[^\s:\[\]]+))(?::(?P<port>\d{1,5}))?")

_SET_BY_THE_STORE = {
    *("decode_responses", "encoding", "legacy_responses", "protocol", "retry", "retry_on_error"),
    *("retry_on_timeout", "socket_connect_timeout", "socket_timeout", "timeout"),
}
"""Options that a URL for another program may contain, and that are ignored here."""


@dataclass(frozen=True)
class Target:
    """What a URL describes.

    :ivar label: the URL without user, password and query.
    :ivar kind: ``""`` for one server, ``"sentinel"`` or ``"cluster"``.
    :ivar options: those of the connections, the password among them.
    :ivar sentinel_options: those of the connections to Sentinels.
    """

    label: str
    kind: str
    uses_tls: bool
    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def parse(url: str, given: Mapping[str, Any]) -> Target:
    """Return what *url* describes, with the options in *given* before those of its query.

    :raises InvalidConfigurationError: if it is not valid. The message doesn't quote it, because it
        may contain a password.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise _invalid(
            "is not like redis://user:password@host:6379/0. Percent-encode special characters in "
            "the password"
        )
    kind = (match["kind"] or "").lower()
    uses_tls = match["scheme"].lower() == "rediss"
    hosts = tuple(_host(each, kind) for each in match["hosts"].split(","))
    if not kind and len(hosts) > 1:
        raise _invalid("has several hosts. Use redis+sentinel:// or redis+cluster:// for those")
    service, database = _path(unquote(match["path"] or "").strip("/"), kind)
    options: dict[str, Any] = {"db": database} if database else {}
    if match["user"]:
        options["username"] = unquote(match["user"])
    if match["password"]:
        options["password"] = unquote(match["password"])
    options |= _query(match["query"] or "")
    options |= given
    sentinel_options = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in list(options)
        if name.startswith("sentinel_")
    }
    if uses_tls:
        # Older versions of redis-py don't check the name by default.
        options.setdefault("ssl_check_hostname", options.get("ssl_cert_reqs") != "none")
        tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
        sentinel_options = {**tls, **sentinel_options}
    label = f"{url.partition('://')[0].lower()}://{match['hosts']}{match['path'] or ''}"
    target = Target(label, kind, uses_tls, hosts, service, options, sentinel_options)
    for each in (options, sentinel_options):
        _check(each, uses_tls)
    return target


def _host(text: str, kind: str) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    port = int(match["port"] or (26379 if kind == "sentinel" else 6379)) if match else 0
    if match is None or not 0 < port < 65536:
        raise _invalid("has a host that is not like name:6379 or [::1]:6379")
    return match["v6"] or match["name"], port


def _path(path: str, kind: str) -> tuple[str, int]:
    """Return the name of the primary and the number of the database."""
    service, database = "", path
    if kind == "sentinel":
        service, _, database = path.partition("/")
        if not service:
            raise _invalid("lacks the name of the primary: redis+sentinel://host:26379/name")
    if database and not (database.isascii() and database.isdigit()):
        raise _invalid("has a database that is not a number")
    if kind == "cluster" and int(database or 0):
        raise _invalid("has a database, but a Cluster has only the database 0")
    return service, int(database or 0)


def _query(query: str) -> dict[str, Any]:
    parsers: Mapping[str, Any] = URL_QUERY_ARGUMENT_PARSERS
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        convert = parsers.get(name.removeprefix("sentinel_"), str)
        if name.removeprefix("sentinel_") in _SET_BY_THE_STORE:
            continue
        try:
            options[name] = convert(text)
        except (TypeError, ValueError):
            raise _invalid(f"has an invalid value of {_shown(name)} in its query") from None
    return options


def _check(options: Mapping[str, Any], uses_tls: bool) -> None:
    """Raise for an option that connections don't have, by creating one without connecting it."""
    kind = connections.TLSConnection if uses_tls else connections.PlainConnection
    problem = ""
    try:
        kind(**{name: value for name, value in options.items() if name != "max_connections"})
    except TypeError as error:
        name = re.search(r"argument '(\w+)'", str(error))
        problem = f"has an unknown option in its query: {_shown(name[1])}" if name else "?"
    except (RedisError, ValueError, OSError):
        problem = "?"
    if problem:
        raise _invalid(problem.replace("?", "has an invalid option in its query"))


def _shown(name: str) -> str:
    return repr(name[:40])


def _invalid(problem: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"the store's URL {problem}", field="url")
