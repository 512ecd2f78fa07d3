"""A keeper's place in its fleet: who it is there, and what the store says about one token."""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from tokenkeeper._renewal.breaker import Breaker
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import ClocksDisagree, StoreRecovered, StoreUnavailable, TokenEvent
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.models import StoreHealth
from tokenkeeper.names import provider_of
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.schedule import deadlines
from tokenkeeper.stores.base import Claim, Record, TokenStore
from tokenkeeper.stores.contents import StoredFailure, StoredToken
from tokenkeeper.stores.sealed import UnreadableError
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["Fleet", "View"]

CLOCKS_DISAGREE_SECONDS = 5.0
"""From this difference on, the clocks of a fleet are reported: it costs token requests."""

REPORT_CLOCKS_SECONDS = 600.0
"""How long a difference of the clocks is not reported again."""

T = TypeVar("T")


class View(NamedTuple):
    """A record, opened.

    :ivar read_at: when it was read, on the keeper's monotonic clock; no later than that.
    :ivar stored: its token; ``None`` if it has none, or can't be read.
    :ivar age_seconds: how long ago that token was requested: the older of what the store and the
        wall clocks say.
    :ivar unreadable: why its token can't be read; ``None`` if it can.
    :ivar failure: why the last request failed, if it did.
    :ivar failure_age_seconds: how long ago that was reported.
    """

    record: Record
    read_at: float
    stored: StoredToken | None = None
    age_seconds: float = math.inf
    unreadable: str | None = None
    failure: StoredFailure | None = None
    failure_age_seconds: float = 0.0

    @property
    def generation(self) -> int:
        """The generation of the record."""
        return self.record.generation

    @property
    def lifetime_seconds(self) -> float:
        """The whole lifetime of its token: what the store and the sealed token agree on."""
        if self.stored is None:
            return 0.0
        sealed = self.stored.token.expires_at.timestamp() - self.stored.requested_at
        lifetime = min(self.record.lifetime_seconds, sealed)
        return lifetime if lifetime > 0 else 0.0  # also for NaN

    @property
    def requested_at(self) -> float:
        """When its token was requested, on the keeper's monotonic clock."""
        return self.read_at - self.age_seconds


class _Unpublished(NamedTuple):
    """A token that is not in the store yet, because the store could not be used."""

    name: str
    token: CachedToken
    replaces: int


class Fleet:
    """Reads and writes the records of one keeper's tokens. Thread-safe.

    :param report: delivers an event; called without a lock.
    :ivar settings: the store, and how it is used.
    :ivar owner: who this process is to the store: a random text, another one in each fork.
    :ivar place: who it is to people, as ``host:pid``.
    """

    def __init__(
        self,
        settings: StoreSettings,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        report: Callable[[TokenEvent], None],
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._jitter = jitter
        self._report = report
        self._start_over()

    def _start_over(self) -> None:
        self.owner: str = secrets.token_hex(16)
        self.place: str = f"{socket.gethostname()}:{os.getpid()}"
        self.breaker: Breaker = Breaker(self._clock, self._jitter, self.settings.timeout_seconds)
        self._lock = threading.Lock()  # guards the three below
        self._cleared: dict[str, float] = {}
        self._unpublished: dict[str, _Unpublished] = {}
        self._clocks_reported_at = -math.inf

    def after_fork_in_child(self) -> None:
        """Become another owner, which holds none of the parent's claims."""
        cleared = dict(self._cleared)
        self._start_over()
        self._cleared = cleared

    # ---- records

    def key_of(self, provider: BaseOAuth2Provider, token_name: str) -> str:
        """Return the key of the record of a token.

        It depends on the token's name and on the client that requests it, but not on its secret.
        """
        identity = [token_name, dict(provider.identity())]
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
        return self.settings.sealer.record_key(text)

    def read(self, name: str, key: str) -> View:
        """Return the record of the token *name*, opened.

        :raises StoreUnavailableError: if the store can't be used.
        """
        before = self._clock.monotonic()
        return self._opened(name, key, self._call(name, lambda: self._store.read(key)), before)

    def claim(
        self, name: str, key: str, *, generation: int, older_than_seconds: float, intent: str
    ) -> tuple[Claim, View]:
        """Claim the right to ask for the token *name*; return the answer, and the record opened.

        :raises StoreUnavailableError: if the store can't be used.
        """
        before = self._clock.monotonic()
        claim = self._call(
            name,
            lambda: self._store.claim(
                key,
                owner=self.owner,
                generation=generation,
                older_than_seconds=older_than_seconds,
                intent=intent,
            ),
        )
        return claim, self._opened(name, key, claim.record, before)

    def publish(
        self,
        name: str,
        key: str,
        cached: CachedToken,
        *,
        replaces: int,
        keep: bool,
        insist: bool = False,
    ) -> bool:
        """Store *cached* if the record's generation is still *replaces*; return whether it was.

        :param insist: ask the store even while it is being left alone.
        :raises StoreUnavailableError: if the store can't be used.
        """
        age = self._clock.monotonic() - cached.requested_at
        stored = StoredToken(
            token=cached.token,
            token_name=name,
            requested_at=self._clock.time() - age,
            granted_to=cached.granted_to or self.place,
        )
        sealed = self.settings.sealer.seal(stored.to_bytes(), key, "token")
        lifetime = cached.ends_at - cached.requested_at
        return self._call(
            name,
            lambda: self._store.publish(
                key,
                owner=self.owner,
                replaces=replaces,
                generation=cached.generation,
                sealed=sealed,
                lifetime_seconds=lifetime,
                age_seconds=age,
                keep=keep,
            ),
            insist=insist,
        )

    def note_unpublished(self, key: str, name: str, token: CachedToken, replaces: int) -> None:
        """Remember that *token* must be stored, for :meth:`publish_unpublished`."""
        with self._lock:
            self._unpublished[key] = _Unpublished(name, token, replaces)

    def publish_unpublished(self, key: str | None = None) -> bool:
        """Store what could not be stored before; return whether nothing is left. Raises nothing.

        :param key: of which record; of all by default.
        """
        with self._lock:
            left = dict(self._unpublished)
        for each in [key] if key is not None else list(left):
            entry = left.get(each)
            if entry is None:
                continue
            name, token, replaces = entry
            try:
                self.publish(name, each, token, replaces=replaces, keep=True, insist=True)
            except StoreUnavailableError:
                return False
            with self._lock:
                if self._unpublished.get(each) is entry:
                    del self._unpublished[each]
        return True

    def fail(self, name: str, key: str, fence: int, failure: StoredFailure | None) -> None:
        """Release the claim, and share *failure* if there is one. Raises nothing.

        If the store can't be used, the claim is taken over once it is old enough.
        """
        sealed = None
        if failure is not None:
            sealed = self.settings.sealer.seal(failure.to_bytes(), key, "failure")
        try:
            self._call(
                name,
                lambda: self._store.fail(key, owner=self.owner, fence=fence, sealed=sealed),
            )
        except StoreUnavailableError:
            pass

    def forget(self, provider: BaseOAuth2Provider, name: str) -> None:
        """Remove the token *name* from the store; never adopt one that was requested before.

        Raises nothing: if the store can't be used, the token stays there for other processes.
        """
        with self._lock:
            self._cleared[name] = self._clock.monotonic()
        try:
            self._call(name, lambda: self._store.forget(self.key_of(provider, name)))
        except StoreUnavailableError:
            pass

    def cleared_at(self, name: str) -> float:
        """Return when the token *name* was cleared here, on the keeper's monotonic clock."""
        return self._cleared.get(name, -math.inf)

    def note_granted(self, name: str) -> None:
        """Note that there is a token since the last :meth:`forget`."""
        with self._lock:
            self._cleared.pop(name, None)

    # ---- the token in a record

    def adopted(
        self, view: View, provider: BaseOAuth2Provider, replaces: CachedToken | None, *, sent: int
    ) -> CachedToken | None:
        """Return the token of *view* with the deadlines of its whole life; ``None`` without one.

        :param sent: the sequence number that tells callers whether it was requested after they
            asked.
        """
        stored = view.stored
        if stored is None:
            return None
        token, requested_at = stored.token, view.requested_at
        refresh_after = None
        if token.refresh_at is not None:
            refresh_after = token.refresh_at.timestamp() - stored.requested_at
        times = deadlines(
            requested_at,
            view.lifetime_seconds,
            provider.buffer_seconds,
            self._jitter(),
            refresh_after,
        )
        offset = self._clock.time() - self._clock.monotonic()
        return CachedToken.of(
            token,
            times,
            sent,
            replaces,
            offset,
            requested_at=requested_at,
            generation=view.generation,
            granted_to=stored.granted_to,
        )

    # ---- the store

    @property
    def _store(self) -> TokenStore:
        return self.settings.store

    def _call(self, name: str, operation: Callable[[], T], *, insist: bool = False) -> T:
        """Return the result of a store operation for the token *name*.

        :param insist: ask the store even while it is being left alone.
        :raises StoreUnavailableError: if the store can't be used, or is being left alone.
        """
        if not insist:
            self.breaker.check()
        try:
            result = operation()
        except StoreUnavailableError as error:
            if self.breaker.failed(error):
                self._report(
                    StoreUnavailable(
                        provider_of(name),
                        utc(self._clock),
                        store=self.settings.label,
                        reason=str(error),
                        token_name=name,
                    )
                )
            raise
        pause = self.breaker.worked()
        if pause is not None:
            label = self.settings.label
            self._report(
                StoreRecovered(
                    provider_of(name),
                    utc(self._clock),
                    store=label,
                    unavailable_seconds=pause,
                    token_name=name,
                )
            )
        return result

    def _opened(self, name: str, key: str, record: Record, read_at: float) -> View:
        sealer = self.settings.sealer
        failure, failure_age = None, 0.0
        if record.failure is not None:
            try:
                content = sealer.open(record.failure.sealed, key, "failure")
                failure = StoredFailure.from_bytes(content)
                failure_age = record.failure.age_seconds
            except UnreadableError:
                pass  # a request is made instead, and overwrites it
        if record.sealed is None:
            return View(record, read_at, failure=failure, failure_age_seconds=failure_age)
        try:
            stored = StoredToken.from_bytes(sealer.open(record.sealed, key, "token"))
        except UnreadableError as error:
            return View(record, read_at, None, math.inf, str(error), failure, failure_age)
        by_wall = self._clock.time() - stored.requested_at
        self._compare_clocks(name, by_wall - record.age_seconds)
        age = max(record.age_seconds, by_wall)
        return View(record, read_at, stored, age, None, failure, failure_age)

    def _compare_clocks(self, name: str, ahead: float) -> None:
        """Report that this host's clock and the store's or another host's differ, now and then."""
        if not CLOCKS_DISAGREE_SECONDS <= abs(ahead) < math.inf:
            return
        now = self._clock.monotonic()
        with self._lock:
            if now - self._clocks_reported_at < REPORT_CLOCKS_SECONDS:
                return
            self._clocks_reported_at = now
        self._report(
            ClocksDisagree(
                provider_of(name), utc(self._clock), difference_seconds=ahead, token_name=name
            )
        )

    def health(self) -> StoreHealth:
        """Return whether the store can be used, without asking it."""
        error = self.breaker.error
        found: StoreHealth = {
            "status": "ok" if error is None else "unavailable",
            "store": self.settings.label,
            "last_error": None if error is None else str(error),
            "unavailable_seconds": 0.0,
        }
        if error is not None:
            found["unavailable_seconds"] = self._clock.monotonic() - self.breaker.failed_at
        return found
