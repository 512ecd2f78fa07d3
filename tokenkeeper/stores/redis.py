"""A store in Redis or Valkey: one hash for each record, changed by short Lua scripts.

A fleet on several machines shares its tokens through it. It needs Redis 5 or later, or Valkey, and
the extra ``redis``. Every client of the database can read the records, so tokens are sealed with a
key that the server doesn't have.

What survives is up to the server. Without persistence, a restart loses the records; a failover may
lose what was written in the last second. Access tokens are then requested again. Refresh tokens of
grants can't be, so a server for them needs ``appendonly yes``.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tokenkeeper._runtime.fork import late_import, notice_fork, renew_after_fork
from tokenkeeper._support.checks import checked_seconds
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.stores._redis_budget import Budget
from tokenkeeper.stores._redis_errors import (
    is_lost_cluster,
    is_lost_connection,
    is_read_only,
    unavailable,
)
from tokenkeeper.stores._redis_given import label_of, problem_of
from tokenkeeper.stores._redis_scripts import CLAIM, FAIL, FORGET, PUBLISH, READ, Script
from tokenkeeper.stores.base import Claim, Record, SharedFailure

if TYPE_CHECKING:
    from tokenkeeper.stores._redis_url import Target
    from tokenkeeper.stores.examination import StoreFinding

__all__ = ["RedisTokenStore"]

CLIENTS = "tokenkeeper.stores._redis_clients"
PREFIX = "tokenkeeper:"

_HOUR_MS = 3_600_000
_CENTURY_SECONDS = 100 * 365 * 86_400.0
_LISTING_SECONDS = 60.0


class RedisTokenStore:
    """A :class:`~tokenkeeper.stores.TokenStore` in Redis or Valkey. Thread-safe.

    :param client: a client of ``redis`` or ``valkey``, such as the one of a Sentinel's primary, a
        Cluster, or one with a credential provider. It stays yours: :meth:`close` leaves it open,
        and its own timeouts and retries apply, so create it with ``socket_timeout=1``,
        ``socket_connect_timeout=1`` and ``retry=Retry(NoBackoff(), 0)``. :meth:`from_url` does that
        and more, and takes a credential provider as well.
    :raises InvalidConfigurationError: if the client has no timeout, so that it would wait for a
        server that hangs without end.
    """

    is_private = False
    """Other users and machines may read it, so a keeper asks for a key to seal tokens with."""

    def __init__(self, client: Any) -> None:
        if problem := problem_of(client):
            raise InvalidConfigurationError(f"the client {problem}", field="client")
        self._begin(client, None, label_of(client), 1.0)

    @classmethod
    def from_url(cls, url: str, *, timeout_seconds: float = 1.0, **options: Any) -> RedisTokenStore:
        """Return a store for *url*. It connects when it is first used.

        :param url: ``redis://``, ``redis+sentinel://`` or ``redis+cluster://``, or with TLS
            ``rediss://``, ``rediss+sentinel://`` or ``rediss+cluster://``. The query may contain
            options of redis-py's connections, such as ``ssl_ca_certs``.
        :param timeout_seconds: how long an operation may take, whatever it has to wait for; 1 by
            default.
        :param options: more options of the connections, such as ``credential_provider``.
        :raises InvalidConfigurationError: if the URL is invalid, or ``redis`` is not installed.
        """
        seconds = checked_seconds(timeout_seconds, "timeout_seconds")
        try:
            urls = late_import("tokenkeeper.stores._redis_url")
        except ImportError:
            raise InvalidConfigurationError(
                f"the store {url.partition(':')[0]}:// needs the package redis: "
                'pip install "tokenkeeper-oauth2[redis]"'
            ) from None
        target = urls.parse(url, options)
        store = cls.__new__(cls)
        store._begin(None, target, target.label, seconds)  # noqa: SLF001 - it is one of these
        return store

    def _begin(self, client: Any, target: Target | None, label: str, seconds: float) -> None:
        self.label = label
        self._given = client
        self._target = target
        self._seconds = seconds
        self._client = client
        self._connecting = threading.Lock()  # guards the creation of the client
        self._inherited: list[Any] = []
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.label!r})"

    def after_fork_in_child(self) -> None:
        """Begin with a client of its own; a given one notices the fork on its own.

        The parent's is kept, because to forget it would close it, and its locks may be taken.
        """
        if self._client is not self._given:
            self._inherited.append(self._client)
        self._client = self._given
        self._connecting = threading.Lock()

    def read(self, key: str) -> Record:
        """Return the record of *key*; an empty one if there is none."""
        return _record(self._run(READ, key))

    def claim(
        self, key: str, *, owner: str, generation: int, older_than_seconds: float, intent: str
    ) -> Claim:
        """Claim the right to request the next token of *key*."""
        older_than = _microseconds(min(older_than_seconds, _CENTURY_SECONDS))
        granted, taken_from, taken_intent, record = self._run(
            CLAIM, key, owner, generation, older_than, intent
        )
        return Claim(bool(granted), _record(record), _text(taken_from), _text(taken_intent))

    @without_frames
    def publish(
        self,
        key: str,
        *,
        owner: str,
        replaces: int,
        generation: int,
        sealed: bytes,
        lifetime_seconds: float,
        age_seconds: float,
        keep: bool,
    ) -> bool:
        """Store a token if the record's generation is still *replaces*; return whether it was.

        Unless *keep*, the server drops the record an hour after the token's expiry.
        """
        lives_on = keep or lifetime_seconds > _CENTURY_SECONDS
        expires_in = 0 if lives_on else max(0, math.ceil(lifetime_seconds * 1000)) + _HOUR_MS
        # The server keeps whole numbers of at most 20 digits. What is that old has expired anyway.
        age = _microseconds(age_seconds) if age_seconds < _CENTURY_SECONDS else ""
        lifetime = repr(float(lifetime_seconds))
        members = (owner, replaces, generation, sealed, lifetime, age, expires_in)
        return bool(self._run(PUBLISH, key, *members))

    @without_frames
    def fail(self, key: str, *, owner: str, fence: int, sealed: bytes | None) -> bool:
        """Release the claim, and share why there is no token; return whether *owner* held it."""
        return bool(self._run(FAIL, key, owner, fence, int(sealed is not None), sealed or b""))

    def forget(self, key: str, *, entirely: bool = False) -> bool:
        """Remove the token and the failure of *key*; return whether there was a token.

        That it was forgotten is remembered for at least a day.
        """
        return bool(self._run(FORGET, key, int(entirely)))

    def keys(self) -> Iterable[str]:
        """Return the keys of all records, by ``SCAN`` on every primary. It takes up to a minute."""

        def scan(client: Any) -> list[str]:
            found = {
                each.decode() if isinstance(each, bytes) else each
                for each in client.scan_iter(match=f"{PREFIX}{{*}}", count=1000)
            }
            return sorted(name[len(PREFIX) + 1 : -1] for name in found)

        names: list[str] = self._attempt(lambda client, _: scan(client), _LISTING_SECONDS)
        return names

    def close(self) -> None:
        """Close idle connections; those in use are closed when their operation is over.

        A client that was passed to the constructor stays open. The store may be used again.
        """
        notice_fork()
        with self._connecting:
            client, self._client = self._client, self._given
        if client is not None and client is not self._given:
            late_import(CLIENTS).close(client)

    def examine(self) -> list[StoreFinding]:
        """Return what the doctor finds: access, settings of the server, and its clock.

        It writes one record of its own, under a random key, and deletes it.
        """
        examination = late_import("tokenkeeper.stores._redis_examination")

        def ask(question: Callable[[Any], Any]) -> Any:
            return self._attempt(lambda client, _: question(client))

        findings: list[StoreFinding] = examination.examine(self, self._target, ask)
        return findings

    def _run(self, script: Script, key: str, *arguments: object) -> Any:
        """Run *script* for *key*. Its last argument says whether it may have run before."""
        values = [each if isinstance(each, bytes) else str(each).encode() for each in arguments]
        name = f"{PREFIX}{{{key}}}".encode()

        def run(client: Any, is_second: bool) -> Any:
            parts = (1, name, *values, b"1" if is_second else b"0")
            try:
                return client.execute_command("EVALSHA", script.digest, *parts, NEVER_DECODE=True)
            except Exception as error:
                if "NoScript" not in type(error).__name__ and "NOSCRIPT" not in str(error):
                    raise
            return client.execute_command("EVAL", script.text, *parts, NEVER_DECODE=True)

        return self._attempt(run)

    def _attempt(
        self, operation: Callable[[Any, bool], Any], total_seconds: float | None = None
    ) -> Any:
        """Return ``operation(client, is_second)``, within the time limit.

        It is called again if an established connection turns out to be lost, as after a restart of
        the server, or leads to a server that has become a replica.

        :raises StoreUnavailableError: if that failed.
        """
        notice_fork()
        with Budget(total_seconds or self._seconds, self._seconds) as budget:
            for is_second in (False, True):
                client = None
                try:
                    client = self._connected(budget)
                    return operation(client, is_second)
                except Exception as error:  # noqa: BLE001 - it is raised in other words
                    failure = error
                if not self._is_worth_another(client, failure) or not budget.remaining():
                    break
        problem = unavailable(failure, self.label)
        del failure, client  # their frames and members hold the password
        raise problem

    def _is_worth_another(self, client: Any, failure: Exception) -> bool:
        if is_lost_cluster(failure) and self._client is client:
            self._client = self._given
        if is_read_only(failure) and hasattr(client, "connection_pool"):
            client.connection_pool.disconnect(inuse_connections=False)
            return True
        return is_lost_connection(failure)

    def _connected(self, budget: Budget) -> Any:
        """Return the client, which is created if there is none."""
        client = self._client
        if client is not None:
            return client
        connecting = self._connecting
        if not connecting.acquire(timeout=budget.next_wait()):
            raise TimeoutError("timed out waiting for another thread that connects")
        try:
            if self._client is None:
                self._client = late_import(CLIENTS).connect(self._target)
            return self._client
        finally:
            connecting.release()


def _record(parts: list[Any]) -> Record:
    generation, sealed, lifetime, age, fence, owner, claim_age, intent, failure, failed = parts
    return Record(
        generation=int(generation),
        sealed=sealed,
        lifetime_seconds=float(lifetime),
        age_seconds=_seconds(age),
        fence=int(fence),
        owner=_text(owner),
        claim_age_seconds=_seconds(claim_age),
        intent=_text(intent),
        failure=None if failure is None else SharedFailure(failure, _seconds(failed)),
    )


def _text(value: bytes | None) -> str:
    # It is shown and compared; what another program wrote there must not spoil the token beside it.
    return (value or b"").decode("utf-8", "replace")


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _seconds(microseconds: bytes) -> float:
    return int(microseconds) / 1_000_000 if microseconds else math.inf
