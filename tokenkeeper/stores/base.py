"""The contract of a store: seven short, atomic operations on records of bytes.

A store knows no token, no provider and no secret. It keeps one :class:`Record` for each key:

.. code-block:: text

    key -> generation, sealed token, lifetime, when its request was sent       (publish, forget)
           fence, owner, intent, when it was claimed                           (claim)
           sealed failure, when it was shared                                  (fail)

The keepers of a fleet do the rest. Before a token request, a keeper reads the record and adopts a
newer token. If there is none, it claims the right to ask, asks the server, and publishes what it
got. No store operation waits for another process, and nothing is locked while a server is asked.

**Time.** A store reports *ages*, never moments, because the clocks of its clients differ. It
measures them on one clock of its own: an age is the time since an event on that clock. Where that
clock was restarted since, the age is infinite.

A store of your own implements :class:`TokenStore` in about 150 lines. Derive a test from
``tokenkeeper.testing.TokenStoreContract`` to see whether it keeps the contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

__all__ = ["NO_RECORD", "Claim", "Record", "SharedFailure", "TokenStore"]


@dataclass(frozen=True, slots=True)
class SharedFailure:
    """Why the last token request of the fleet failed.

    :ivar sealed: the failure, sealed by the keeper that reported it.
    :ivar age_seconds: how long ago it was reported, on the store's clock.
    """

    sealed: bytes = field(repr=False)
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """What a store has under one key, at one moment. Immutable.

    :ivar generation: the number of the latest token; it grows with each, and when one is forgotten.
        0 if none was published yet.
    :ivar sealed: that token, sealed by the keeper that published it; ``None`` if there is none, or
        it was forgotten.
    :ivar lifetime_seconds: the token's whole lifetime; 0 without a token.
    :ivar age_seconds: how long ago the token's request was sent, on the store's clock; infinite if
        that is unknown, and without a token.
    :ivar fence: the number of the latest claim; it grows with each. 0 before the first.
    :ivar owner: who holds the claim; ``""`` if it is free.
    :ivar claim_age_seconds: how long ago it was claimed, on the store's clock; infinite if that is
        unknown, and if it is free.
    :ivar intent: what the owner said that it is about to do; ``""`` if it is free.
    :ivar failure: why the last request failed; ``None`` if it succeeded.
    """

    generation: int = 0
    sealed: bytes | None = field(default=None, repr=False)
    lifetime_seconds: float = 0.0
    age_seconds: float = float("inf")
    fence: int = 0
    owner: str = ""
    claim_age_seconds: float = float("inf")
    intent: str = ""
    failure: SharedFailure | None = None

    @property
    def is_claimed(self) -> bool:
        """Whether somebody holds the claim, however old it is."""
        return bool(self.owner)


NO_RECORD = Record()
"""What :meth:`TokenStore.read` returns for an unknown key."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to :meth:`TokenStore.claim`.

    :ivar granted: whether the caller holds the claim now.
    :ivar record: the record after the call, with the new owner and fence if it was granted.
    :ivar taken_from: who held the claim before, if it was taken over; ``""`` otherwise.
    :ivar taken_intent: what that owner was about to do; ``""`` if nothing was taken over.
    """

    granted: bool
    record: Record
    taken_from: str = ""
    taken_intent: str = ""


@runtime_checkable
class TokenStore(Protocol):
    """Keeps the records that the processes of a fleet share.

    Implementations are thread-safe, and their operations atomic across processes and machines. An
    operation blocks no longer than the store's timeout, and raises
    :class:`~tokenkeeper.exceptions.StoreUnavailableError` and nothing else when it can't be done:
    the message names the cause and the remedy, and contains no secret. Keys are ASCII text without
    spaces, of at most 200 characters. Nothing in a store is ever changed by reading it.

    After a fork, a child uses the store object that it inherited. It must then open connections of
    its own, and must not close those of its parent: closing them would end the parent's session.
    """

    def read(self, key: str) -> Record:
        """Return the record of *key*; an empty one if there is none."""
        ...

    def claim(
        self, key: str, *, owner: str, generation: int, older_than_seconds: float, intent: str
    ) -> Claim:
        """Claim the right to request the next token of *key*.

        Granted if the record's generation is *generation*, and the claim is free, already held by
        *owner*, or at least *older_than_seconds* old. Each grant starts a new claim: the fence
        grows by one, and the age begins at 0. A claim never expires on its own.

        That an owner's own claim is granted again matters where a client gave up waiting for an
        operation that the store then performed.

        :param owner: who claims, as a random text that no other process uses.
        :param generation: the generation that the caller has seen.
        :param older_than_seconds: how old another owner's claim must be to be taken over.
        :param intent: what the owner is about to do, in words.
        """
        ...

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

        On success the failure is forgotten, and the claim is released if *owner* holds it. A caller
        without a claim may publish as well: the generation alone decides.

        :param generation: the token's generation, greater than *replaces*.
        :param sealed: the token.
        :param lifetime_seconds: its whole lifetime.
        :param age_seconds: how long ago its request was sent.
        :param keep: whether the record must be kept for ever. Otherwise the store may drop it some
            time after the token's expiry.
        """
        ...

    def fail(self, key: str, *, owner: str, fence: int, sealed: bytes | None) -> bool:
        """Release the claim, and share why there is no token; return whether *owner* held it.

        Without effect unless *owner* holds the claim with *fence*.

        :param sealed: the failure; ``None`` leaves the one before, because no request was made.
        """
        ...

    def forget(self, key: str, *, entirely: bool = False) -> bool:
        """Remove the token and the failure of *key*; return whether there was a token.

        The generation grows by one, so that no process restores the token from its memory. A claim
        stays. Without effect if the record has neither token nor failure.

        :param entirely: delete the whole record, with its generation; ``False`` by default. This is
            for maintenance: a process that has the token in memory may store it again.
        """
        ...

    def keys(self) -> Iterable[str]:
        """Return the keys of all records. For people; it may be slow."""
        ...

    def close(self) -> None:
        """Close connections. The store may be used again, and then opens new ones."""
        ...
