"""What the doctor asks a Redis or Valkey server: whether tokens can be kept there, and are safe.

Managed servers refuse ``INFO`` or ``CONFIG``. What they don't say is unknown, and not a problem.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.checks import is_loopback
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores._redis_given import host_of, place_of, uses_tls
from tokenkeeper.stores.examination import StoreFinding

if TYPE_CHECKING:
    from tokenkeeper.stores._redis_url import Target
    from tokenkeeper.stores.redis import RedisTokenStore

__all__ = ["examine"]

SLOW_SECONDS = 0.1
CLOCK_TOLERANCE_SECONDS = 5.0
MOST_RECORDS = 200

Ask = Callable[[Callable[[Any], Any]], Any]
"""Calls a function with a client, within the store's time limit."""


def examine(store: RedisTokenStore, target: Target | None, ask: Ask) -> list[StoreFinding]:
    """Return what was found. Nothing else is checked where the server can't even be read."""
    key = f"examination-{secrets.token_hex(8)}"
    try:
        store.read(key)
    except StoreUnavailableError as error:
        return [_problem("reachable", str(error))]
    findings = [_ok("reachable", f"{store.label} answers"), *_writes(store, key)]
    findings += _encryption(target, ask)
    servers: list[Any] = _asked(ask, _servers) or []
    for server in servers:
        place = f"{place_of(server)}: " if len(servers) > 1 else ""
        found = [*_clock(ask, server), *_settings(ask, server)]
        # Each server of a Cluster may have a fault of its own. What is in order is said once.
        is_first = server is servers[0]
        findings += [
            StoreFinding(each.check, each.status, place + each.message, each.advice)
            for each in found
            if is_first or each.status != "ok"
        ]
    findings += _records(store)
    return findings


def _writes(store: RedisTokenStore, key: str) -> Iterator[StoreFinding]:
    began = SYSTEM_CLOCK.monotonic()
    try:
        claim = store.claim(
            key, owner=key, generation=0, older_than_seconds=0.0, intent="examination"
        )
        store.fail(key, owner=key, fence=claim.record.fence, sealed=b"probe")
        lasted = (SYSTEM_CLOCK.monotonic() - began) / 2
        is_kept = store.read(key).failure is not None
        store.forget(key, entirely=True)
    except StoreUnavailableError as error:
        yield _problem("writable", str(error))
        return
    if not is_kept:
        yield _problem(
            "writable",
            "a record was gone right after it was written",
            "Check that the URL names the primary, and the server's eviction policy",
        )
        return
    yield _ok("writable", "a record was written, read and deleted")
    words = f"an operation takes {lasted * 1000:.1f} ms"
    if lasted < SLOW_SECONDS:
        yield _ok("round trip", words)
    else:
        yield _warning("round trip", words, "Use a server that is nearer, or less busy")


def _encryption(target: Target | None, ask: Ask) -> Iterator[StoreFinding]:
    if target is not None:
        hosts, is_encrypted = [host for host, _ in target.hosts], target.uses_tls
        is_verified = target.options.get("ssl_cert_reqs", "required") == "required"
    else:
        hosts, is_encrypted = [str(_asked(ask, host_of)).strip("[]")], bool(_asked(ask, uses_tls))
        is_verified = True
    if is_encrypted and not is_verified:
        yield _warning(
            "encryption",
            "the server's certificate is not checked",
            "Remove ssl_cert_reqs from the URL, and set ssl_ca_certs",
        )
    elif is_encrypted:
        yield _ok("encryption", "TLS")
    elif all(map(is_loopback, hosts)):
        yield _ok("encryption", "none, on this machine")
    else:
        yield _warning(
            "encryption",
            "the password and the names of records cross the network unencrypted",
            "Use rediss://",
        )


def _clock(ask: Ask, server: Any) -> Iterator[StoreFinding]:
    sent = SYSTEM_CLOCK.time()
    moment = _asked(ask, lambda _: server.time())
    if moment is None:
        yield _ok("clock", "unknown: the server does not allow TIME")
        return
    seconds, microseconds = moment
    ahead = seconds + microseconds / 1e6 - (sent + SYSTEM_CLOCK.time()) / 2
    words = f"the server's clock is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) < CLOCK_TOLERANCE_SECONDS:
        yield _ok("clock", words)
    else:
        yield _warning("clock", words, "Synchronize both clocks with NTP")


def _settings(ask: Ask, server: Any) -> Iterator[StoreFinding]:
    info = _asked(ask, lambda _: server.info()) or {}
    yield from _role(info)
    yield from _memory(info)
    yield from _persistence(info, _asked(ask, lambda _: server.config_get("save")))


def _role(info: dict[str, Any]) -> Iterator[StoreFinding]:
    role = info.get("role")
    if role == "slave":
        yield _problem(
            "role", "the server is a replica", "Name the primary, or use redis+sentinel://"
        )
    else:
        yield _ok("role", "primary" if role else "unknown: the server does not allow INFO")


def _memory(info: dict[str, Any]) -> Iterator[StoreFinding]:
    policy = info.get("maxmemory_policy")
    if policy is None:
        yield _ok("memory", "unknown: the server does not tell its maxmemory-policy")
    elif str(policy).startswith("allkeys"):
        yield _warning(
            "memory",
            f"maxmemory-policy is {policy}: the server may drop any token, and refresh tokens "
            "with it",
            "Set it to noeviction, or to volatile-ttl, which never drops refresh tokens",
        )
    else:
        yield _ok("memory", f"maxmemory-policy is {policy}")


def _persistence(info: dict[str, Any], save: dict[str, str] | None) -> Iterator[StoreFinding]:
    if info.get("aof_enabled"):
        yield _ok("persistence", "appendonly")
    elif not info or save is None:
        yield _ok("persistence", "unknown: the server does not allow INFO or CONFIG GET")
    elif save.get("save"):
        yield _ok("persistence", f"snapshots (save {save['save']}); a crash loses what is newer")
    else:
        yield _warning(
            "persistence",
            "a restart of the server loses all records: access tokens are requested again, but "
            "refresh tokens are lost",
            "Set appendonly yes, unless it holds access tokens alone",
        )


def _records(store: RedisTokenStore) -> Iterator[StoreFinding]:
    try:
        keys = list(store.keys())
    except StoreUnavailableError as error:
        if error.is_misconfigured:
            yield _ok("records", "unknown: the server does not allow SCAN")
        else:
            yield _warning("records", str(error))
        return
    is_sound = True
    for key in keys[:MOST_RECORDS]:
        try:
            store.read(key)
        except StoreUnavailableError as error:
            is_sound = False
            yield _problem("records", f"the record {key[:80]!r}: {error}")
    if is_sound:
        yield _ok("records", f"{len(keys)}")


def _servers(client: Any) -> list[Any]:
    if hasattr(client, "get_primaries"):
        return [client.get_redis_connection(node) for node in client.get_primaries()]
    return [client]


def _asked(ask: Ask, question: Callable[[Any], Any]) -> Any:
    """Return the answer; ``None`` if the server gives none."""
    try:
        return ask(question)
    except StoreUnavailableError:
        return None


def _ok(check: str, message: str) -> StoreFinding:
    return StoreFinding(check, "ok", message)


def _warning(check: str, message: str, advice: str = "") -> StoreFinding:
    return StoreFinding(check, "warning", message, advice)


def _problem(check: str, message: str, advice: str = "") -> StoreFinding:
    return StoreFinding(check, "problem", message, advice)
