"""When tokens were last used: which to go on renewing, and which to let go."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from tokenkeeper.clock import Clock
from tokenkeeper.names import is_chosen, is_on_behalf, provider_of

__all__ = ["IdleTimeouts", "Usage"]


class IdleTimeouts:
    """After how many seconds without a use a token is no longer renewed.

    :param own: for the token of a registration itself.
    :param chosen: for a token whose parameters a caller chose.
    :param on_behalf: for one that was granted for a subject or an actor's token; by default as
        for *chosen*.
    """

    __slots__ = ("chosen", "on_behalf", "own")

    def __init__(self, own: float, chosen: float, on_behalf: float | None = None) -> None:
        self.own = own
        self.chosen = chosen
        self.on_behalf = chosen if on_behalf is None else on_behalf

    def of(self, name: str) -> float:
        """Return the timeout of the token *name*."""
        if not is_chosen(name):
            return self.own
        return self.on_behalf if is_on_behalf(name) else self.chosen


class Usage:
    """The last known use of each token, and the limit on tokens that callers chose.

    Not thread-safe: the keeper's lock guards it. Reads are not counted, since they take no lock:
    the first read after a renewal is noted, and the ones after it are not.

    :param max_tokens: how many chosen tokens there may be.
    """

    def __init__(self, max_tokens: int, idle: IdleTimeouts, clock: Clock) -> None:
        self._max_tokens = max_tokens
        self._idle = idle
        self._clock = clock
        self._own: dict[str, float] = {}
        self._chosen: OrderedDict[str, float] = OrderedDict()  # the least recently used first

    def note(self, name: str) -> None:
        """Note that the token *name* is used now."""
        if is_chosen(name):
            self._chosen[name] = self._clock.monotonic()
            self._chosen.move_to_end(name)
        else:
            self._own[name] = self._clock.monotonic()

    def is_idle(self, name: str, until: float) -> bool:
        """Return whether the token *name* will have been unused for its timeout at *until*."""
        uses = self._chosen if is_chosen(name) else self._own
        used_at = uses.get(name)
        return used_at is not None and used_at + self._idle.of(name) <= until

    def forget(self, name: str) -> None:
        """Forget the token *name*."""
        self._own.pop(name, None)
        self._chosen.pop(name, None)

    def chosen_of(self, provider_name: str) -> list[str]:
        """Return the names of the chosen tokens of a provider."""
        return [name for name in self._chosen if provider_of(name) == provider_name]

    def chosen(self) -> list[str]:
        """Return the names of all chosen tokens."""
        return list(self._chosen)

    @property
    def is_over_limit(self) -> bool:
        """Whether there are more chosen tokens than allowed."""
        return len(self._chosen) > self._max_tokens

    def take_surplus(self, was_read: Callable[[str], bool], busy: Collection[str]) -> list[str]:
        """Return the chosen tokens beyond the limit, which are forgotten here.

        They leave in the order of their last use. One that was read meanwhile gets a second chance
        (the CLOCK algorithm), so a token in use stays however many others come and go.

        :param was_read: returns whether a token was read since this was last asked.
        :param busy: names that must stay: their tokens are being requested.
        """
        surplus: list[str] = []
        for _ in range(2 * len(self._chosen)):
            if not self.is_over_limit:
                break
            name = next(iter(self._chosen))
            if name in busy or was_read(name):
                self._chosen.move_to_end(name)
            else:
                del self._chosen[name]
                surplus.append(name)
        return surplus
