"""The clients of redis-py that a URL describes. No client repeats anything on its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import ConnectionPool
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from tokenkeeper.stores import _redis_connection as connections
from tokenkeeper.stores._redis_url import Target

__all__ = ["close", "connect"]


def connect(target: Target) -> Any:
    """Return a client. That of a Cluster connects at once, all others when they are used.

    Called with a budget, which limits that. No client repeats anything on its own.
    """
    own, shared = (
        (connections.TLSConnection, connections.SharingTLSConnection)
        if target.uses_tls
        else (connections.PlainConnection, connections.SharingConnection)
    )
    if target.kind == "cluster":
        return _cluster(target, shared)
    if target.kind == "sentinel":
        return _primary(target, shared)
    host, port = target.hosts[0]
    return Redis(connection_pool=_pool(own, target.options, host=host, port=port))


def _pool(connection_class: type[Any], options: Mapping[str, Any], **place: Any) -> ConnectionPool:
    retry = Retry(NoBackoff(), 0)
    settings = {**options, "connection_class": connection_class, "protocol": 2, "retry": retry}
    return ConnectionPool(**place, **settings)


def _primary(target: Target, connection_class: type[Any]) -> Any:
    manager = Sentinel([])  # type: ignore[no-untyped-call]
    manager.sentinels = [
        Redis(
            connection_pool=_pool(connection_class, target.sentinel_options, host=host, port=port)
        )
        for host, port in target.hosts
    ]
    pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        target.service,
        manager,
        connection_class=(
            connections.TLSSentinelConnection
            if target.uses_tls
            else connections.PlainSentinelConnection
        ),
        **target.options,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis(connection_pool=pool)


def _cluster(target: Target, connection_class: type[Any]) -> Any:
    def pool(**given: Any) -> ConnectionPool:
        place = {name: given[name] for name in ("host", "port", "redis_connect_func")}
        return _pool(connection_class, target.options, **place)

    (host, port), *others = target.hosts
    shown = f"[{host}]" if ":" in host else host
    client: Any = RedisCluster(
        # Only with a URL, it takes a class of pools, and with it all options of connections.
        url=f"redis://{shown}:{port}",
        startup_nodes=[ClusterNode(*each) for each in others],  # type: ignore[no-untyped-call]
        connection_pool_class=pool,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    if hasattr(client, "cluster_error_retry_attempts"):  # before redis 6, which deprecates it
        client.cluster_error_retry_attempts = 0
    return client


def close(client: Any) -> None:
    """Close the idle connections of *client*; those in use are closed when it is forgotten."""
    if hasattr(client, "get_nodes"):
        pools = [client.get_redis_connection(node).connection_pool for node in client.get_nodes()]
    else:
        pools = [client.connection_pool]
    if isinstance(pools[0], SentinelConnectionPool):
        pools += [each.connection_pool for each in pools[0].sentinel_manager.sentinels]
    for pool in pools:
        pool.disconnect(inuse_connections=False)
