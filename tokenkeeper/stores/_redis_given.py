"""A client that was passed to the store: whether it can be used, and what to call it.

It may be of ``redis`` or of ``valkey``, which need not both be installed, so neither is imported.
"""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["host_of", "label_of", "place_of", "pools_of", "problem_of", "uses_tls"]


def pools_of(client: Any) -> list[Any]:
    """Return the connection pools of *client*: one, or one for each primary of a Cluster."""
    if hasattr(client, "get_primaries"):
        return [client.get_redis_connection(n).connection_pool for n in client.get_primaries()]
    return [client.connection_pool]


def problem_of(client: Any) -> str:
    """Return why *client* can't be used; ``""`` if it can."""
    execute = getattr(client, "execute_command", None)
    if execute is None:
        return "is not a client of redis or valkey. Pass one, or use RedisTokenStore.from_url()"
    if inspect.iscoroutinefunction(execute):
        return "is an asyncio client. Pass the blocking one, redis.Redis"
    if not all(map(_has_timeout, pools_of(client))):
        return "has no socket_timeout, and would wait for ever. Create it with socket_timeout=1"
    return ""


def label_of(client: Any) -> str:
    """Return a URL that says where *client* connects to, without user and password."""
    pool = pools_of(client)[0]
    options = pool.connection_kwargs
    scheme = "rediss" if uses_tls(client) else "redis"
    if hasattr(client, "get_primaries"):
        return f"{scheme}+cluster://{place_of(client)}"
    if hasattr(pool, "service_name"):
        return f"{scheme}+sentinel://{pool.service_name}"
    if options.get("path"):
        return f"unix://{options['path']}"
    return f"{scheme}://{place_of(client)}/{options.get('db') or 0}"


def host_of(client: Any) -> str:
    """Return the host of the first server; ``localhost`` for a socket or an unknown one."""
    host = pools_of(client)[0].connection_kwargs.get("host") or "localhost"
    return f"[{host}]" if ":" in host else str(host)


def place_of(client: Any) -> str:
    """Return host and port of the first server."""
    return f"{host_of(client)}:{pools_of(client)[0].connection_kwargs.get('port', 6379)}"


def uses_tls(client: Any) -> bool:
    """Return whether the connections of *client* use TLS."""
    kinds = pools_of(client)[0].connection_class.__mro__
    return any("SSL" in kind.__name__ for kind in kinds)


def _has_timeout(pool: Any) -> bool:
    options = pool.connection_kwargs
    if "socket_timeout" in options:
        return options["socket_timeout"] is not None
    # The default of the version that is installed: some have none.
    return getattr(pool.connection_class(**options), "socket_timeout", None) is not None
