"""A keeper's place in its fleet: who it is there, and what the store says about one token."""

from __future__ import annotations

import math
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.clock_comparison import ClockComparison
from tokenkeeper._renewal.store_guard import StoreGuard
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import Clock
from tokenkeeper.events import TokenEvent
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.schedule import deadlines
from tokenkeeper.stores.base import Claim, Record, TokenStore
from tokenkeeper.stores.contents import StoredFailure, StoredToken
from tokenkeeper.stores.naming import record_key_of
from tokenkeeper.stores.sealed import UnreadableError
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["Fleet"]


class Fleet:
    """Reads and writes the records of one keeper's tokens. Thread-safe.

    :param report: delivers an event; called without a lock.
    :ivar settings: the store, and how it is used.
    :ivar guard: calls the store, and spares one that fails.
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
        self.guard: StoreGuard = StoreGuard(settings, clock=clock, jitter=jitter, report=report)
        self._start_over()

    def _start_over(self) -> None:
        self.owner: str = secrets.token_hex(16)
        self.place: str = f"{socket.gethostname()}:{os.getpid()}"
        self._clocks = ClockComparison(self._clock, self._report)
        self._lock = threading.Lock()  # guards what was cleared
        self._cleared: dict[str, float] = {}

    def after_fork_in_child(self) -> None:
        """Become another owner, which holds none of the parent's claims."""
        cleared = dict(self._cleared)
        self.guard.after_fork_in_child()
        self._start_over()
        self._cleared = cleared

    # ---- records

    def key_of(self, provider: BaseOAuth2Provider, token_name: str) -> str:
        """Return the key of the record of a token."""
        return record_key_of(provider, token_name, self.settings.sealer)

    def read(self, name: str, key: str, *, insist: bool = False) -> View:
        """Return the record of the token *name*, opened.

        :param insist: ask the store even while it is being left alone.
        :raises StoreUnavailableError: if the store can't be used.
        """
        before = self._clock.monotonic()
        record = self.guard.call(name, lambda: self._store.read(key), insist=insist)
        return self._opened(name, key, record, before)

    def claim(
        self, name: str, key: str, *, generation: int, older_than_seconds: float, intent: str
    ) -> tuple[Claim, View]:
        """Claim the right to ask for the token *name*; return the answer, and the record opened.

        :raises StoreUnavailableError: if the store can't be used.
        """
        before = self._clock.monotonic()
        claim = self.guard.call(
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
        keeps_claim: bool = False,
    ) -> bool:
        """Store *cached* if the record's generation is still *replaces*; return whether it was.

        :param insist: ask the store even while it is being left alone.
        :param keeps_claim: whether this process goes on to hold the claim.
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
        lifetime = max(0.0, cached.ends_at - cached.requested_at)
        return self.guard.call(
            name,
            lambda: self._store.publish(
                key,
                owner="" if keeps_claim else self.owner,
                replaces=replaces,
                generation=cached.generation,
                sealed=sealed,
                lifetime_seconds=lifetime,
                age_seconds=age,
                keep=keep,
            ),
            insist=insist,
        )

    def publish_newest(
        self,
        name: str,
        key: str,
        cached: CachedToken,
        *,
        replaces: int,
        fence: int | None = None,
        insist: bool = False,
        keeps_claim: bool = False,
    ) -> CachedToken | None:
        """Store *cached*, which has the newest refresh token, and return it as it was stored.

        Unlike :meth:`publish` also if the store has come back older meanwhile, or if the token was
        cleared while this process held the claim.

        :param fence: of the claim that this process holds; ``None``, the default, without one.
        :returns: ``None`` if another process has stored a newer one.
        :raises StoreUnavailableError: if the store can't be used.
        """
        while not self.publish(
            name,
            key,
            cached,
            replaces=replaces,
            keep=True,
            insist=insist,
            keeps_claim=keeps_claim,
        ):
            record = self.read(name, key).record
            is_mine = record.owner == self.owner and record.fence == fence
            was_cleared = is_mine and record.lifetime_seconds == 0
            if record.generation >= replaces and not was_cleared:
                return None
            replaces = record.generation
            cached = cached.published(max(cached.generation, replaces + 1))
        return cached

    def become_another(self) -> None:
        """Take another owner id, because a helper process goes on with a claim of this one."""
        self.owner = secrets.token_hex(16)

    def fail(self, name: str, key: str, claimed: Record, failure: StoredFailure | None) -> None:
        """Release the claim, and share *failure* if there is one. Raises nothing.

        :param claimed: the record as it was claimed.

        If the store can't be used, the claim is taken over once it is old enough.
        """
        sealed = None
        if failure is not None:
            sealed = self.settings.sealer.seal(failure.to_bytes(), key, "failure")
        with suppress(StoreUnavailableError):
            self.guard.call(
                name,
                lambda: self._store.fail(
                    key, owner=claimed.owner, fence=claimed.fence, sealed=sealed
                ),
            )

    def forget(self, name: str, key: str) -> None:
        """Remove the token *name* from the store.

        Raises nothing: if the store can't be used, the token stays there for other processes.
        """
        with suppress(StoreUnavailableError):
            self.guard.call(name, lambda: self._store.forget(key))

    def note_cleared(self, name: str) -> None:
        """Adopt no token *name* that was requested before now."""
        with self._lock:
            self._cleared[name] = self._clock.monotonic()

    def cleared_at(self, name: str) -> float:
        """Return when the token *name* was cleared here, on the keeper's monotonic clock."""
        return self._cleared.get(name, -math.inf)

    def note_granted(self, name: str, requested_at: float) -> None:
        """Note that there is a token, and that it was requested at *requested_at*."""
        with self._lock:
            if self._cleared.get(name, math.inf) < requested_at:
                del self._cleared[name]

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

    def _opened(self, name: str, key: str, record: Record, read_at: float) -> View:
        sealer = self.settings.sealer
        failure, failure_age = None, 0.0
        if record.failure is not None:
            try:
                content = sealer.open(record.failure.sealed, key, "failure")
                failure = StoredFailure.from_bytes(content)
                failure_age = _known_age(record.failure.age_seconds)
            except UnreadableError:
                pass  # a request is made instead, and overwrites it
        if record.sealed is None:
            return View(record, read_at, failure=failure, failure_age_seconds=failure_age)
        try:
            stored = StoredToken.from_bytes(sealer.open(record.sealed, key, "token"))
        except UnreadableError as error:
            return View(record, read_at, None, math.inf, str(error), failure, failure_age)
        by_wall = self._clock.time() - stored.requested_at
        self._clocks.compare(name, by_wall - record.age_seconds)
        age = _known_age(max(record.age_seconds, by_wall))
        return View(record, read_at, stored, age, None, failure, failure_age)


def _known_age(seconds: float) -> float:
    """Return *seconds*; infinite if that is not an age, as after a clock was set back."""
    return seconds if seconds >= 0 else math.inf
