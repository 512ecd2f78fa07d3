"""What the operations of a store do to one record, without where it is kept.

A store that loads an entry, calls one of these methods and saves it, all in one transaction, keeps
the contract of :mod:`tokenkeeper.stores.base`. Moments are those of the store's clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenkeeper.stores.base import Claim, Record, SharedFailure

__all__ = ["UNKNOWN", "Entry"]

UNKNOWN = -float("inf")
"""A moment that is not known, or was measured on a clock that was restarted since."""


@dataclass
class Entry:
    """A record with moments in place of ages. Not thread-safe."""

    generation: int = 0
    sealed: bytes | None = None
    lifetime_seconds: float = 0.0
    sent_at: float = UNKNOWN
    fence: int = 0
    owner: str = ""
    claimed_at: float = UNKNOWN
    intent: str = ""
    failure: bytes | None = None
    failed_at: float = UNKNOWN
    keep: bool = False

    def record(self, now: float) -> Record:
        """Return it as it is at the moment *now*."""
        failure = None
        if self.failure is not None:
            failure = SharedFailure(self.failure, _age(self.failed_at, now))
        return Record(
            generation=self.generation,
            sealed=self.sealed,
            lifetime_seconds=self.lifetime_seconds,
            age_seconds=_age(self.sent_at, now),
            fence=self.fence,
            owner=self.owner,
            claim_age_seconds=_age(self.claimed_at, now),
            intent=self.intent,
            failure=failure,
        )

    def claim(
        self, now: float, *, owner: str, generation: int, older_than_seconds: float, intent: str
    ) -> Claim:
        """Give the claim to *owner* if that is due, and return the answer."""
        is_own = self.owner in ("", owner)
        is_due = is_own or _age(self.claimed_at, now) >= older_than_seconds
        if self.generation != generation or not is_due:
            return Claim(False, self.record(now))
        taken = ("", "") if is_own else (self.owner, self.intent)
        self.fence += 1
        self.owner, self.intent, self.claimed_at = owner, intent, now
        return Claim(True, self.record(now), *taken)

    def publish(
        self,
        now: float,
        *,
        owner: str,
        replaces: int,
        generation: int,
        sealed: bytes,
        lifetime_seconds: float,
        age_seconds: float,
        keep: bool,
    ) -> bool:
        """Take the token if the generation is *replaces*; return whether it was."""
        if self.generation != replaces:
            return False
        self.generation, self.sealed = generation, bytes(sealed)
        self.lifetime_seconds, self.sent_at = lifetime_seconds, now - age_seconds
        self.keep = keep
        self.failure, self.failed_at = None, UNKNOWN
        if self.owner == owner:
            self._release()
        return True

    def fail(self, now: float, *, owner: str, fence: int, sealed: bytes | None) -> bool:
        """Release the claim and take the failure; return whether *owner* held it with *fence*."""
        if not self.owner or (self.owner, self.fence) != (owner, fence):
            return False
        self._release()
        if sealed is not None:
            self.failure, self.failed_at = bytes(sealed), now
        return True

    def forget(self) -> bool:
        """Remove token and failure; return whether there was a token."""
        had_token = self.sealed is not None
        if had_token or self.failure is not None:
            self.generation += 1
            self.sealed, self.lifetime_seconds, self.sent_at = None, 0.0, UNKNOWN
            self.failure, self.failed_at = None, UNKNOWN
        return had_token

    def _release(self) -> None:
        self.owner, self.intent, self.claimed_at = "", "", UNKNOWN


def _age(moment: float, now: float) -> float:
    """Return how long ago *moment* was; infinite if it is of another clock."""
    return now - moment if moment <= now else float("inf")
