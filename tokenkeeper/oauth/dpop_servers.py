"""What servers say about the proofs that they accept (RFC 9449 §8, §9): their nonces and time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, NamedTuple

from tokenkeeper.oauth.challenges import ProofError
from tokenkeeper.oauth.time_values import as_timestamp

__all__ = ["Learned", "Role", "Servers"]

MOST_SERVERS = 200
"""How many servers are remembered. Beyond that, the one that came first is forgotten."""

LONGEST_NONCE = 2000
"""Characters. It is sent back in each proof, and headers have limits."""

CLOCK_SKEW_SECONDS = 5.0
"""A smaller difference between the clocks is never the reason why a proof is refused."""

_NONCE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 9449 §8.1: 1*NQCHAR

Role = Literal["authorization server", "resource server"]
"""As which of both a server takes a proof. One origin can be both, with a nonce for each."""


class Learned(NamedTuple):
    """What one server said.

    :ivar nonce: the nonce for the next proof; ``None`` if it sent none.
    :ivar ahead_seconds: how far its clock is ahead of ours, if it refused a proof for that.
    """

    nonce: str | None = None
    ahead_seconds: float = 0.0


_NOTHING = Learned()


class Servers:
    """Remembers what servers said, by role and origin. Bounded; thread-safe without a lock.

    A forked child goes on with what its parent learned.
    """

    def __init__(self) -> None:
        self._learned: dict[tuple[Role, str], Learned] = {}

    def get(self, role: Role, origin: str) -> Learned:
        """Return what the server of *origin* said."""
        return self._learned.get((role, origin), _NOTHING)

    def note_nonce(self, role: Role, origin: str, nonce: str | None) -> None:
        """Remember *nonce*, which may come with any response, unless it can't be one."""
        if nonce is None or len(nonce) > LONGEST_NONCE or not _NONCE.fullmatch(nonce):
            return
        known = self.get(role, origin)
        if known.nonce != nonce:
            self._put(role, origin, known._replace(nonce=nonce))

    def is_worth_another(
        self, error: ProofError, role: Role, origin: str, headers: Mapping[str, str], now: float
    ) -> bool:
        """Return whether the next proof may satisfy a server that refused one with *error*.

        :param headers: the response's; names in lower case, or in any case if it is a mapping that
            does not distinguish them.
        :param now: the time, in seconds since the epoch, without a correction.
        """
        if error == "use_dpop_nonce":
            return self.get(role, origin).nonce is not None
        theirs = as_timestamp(headers.get("date"))
        known = self.get(role, origin)
        if theirs is None or abs(theirs - now - known.ahead_seconds) < CLOCK_SKEW_SECONDS:
            return False
        self._put(role, origin, known._replace(ahead_seconds=theirs - now))
        return True

    def _put(self, role: Role, origin: str, learned: Learned) -> None:
        self._learned[role, origin] = learned
        while len(self._learned) > MOST_SERVERS:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread did it
                del self._learned[next(iter(self._learned))]
