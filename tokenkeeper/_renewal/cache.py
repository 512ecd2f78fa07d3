"""What a keeper knows of its tokens: those that it caches, what failed, what APIs rejected."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import NamedTuple

from tokenkeeper._renewal.cached_token import CachedToken, Cell
from tokenkeeper._renewal.cooldown import Cooldown
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.rejections import Rejections, Ruling
from tokenkeeper._renewal.usage import Usage
from tokenkeeper._runtime.clock_steps import ClockSteps
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError, TokenRejectedError
from tokenkeeper.retry import RetryPolicy, is_interruption, is_transient

__all__ = ["FailureOutcome", "FailureStreak", "TokenCache"]


class FailureStreak(NamedTuple):
    """Requests for one token that failed in a row.

    :ivar failures: how many, since the last success.
    :ivar error: the text of the last error.
    :ivar at: when that was, on the keeper's monotonic clock.
    """

    failures: int
    error: str
    at: float


class FailureOutcome(NamedTuple):
    """What follows from a failure.

    :ivar renew_at: when to try again in the background; ``None`` for not automatically.
    :ivar remaining_seconds: how long the cached token is still valid; 0 if there is none.
    :ivar cooldown_seconds: how long callers get the same error; 0 if they do not.
    """

    renew_at: float | None = None
    remaining_seconds: float = 0.0
    cooldown_seconds: float = 0.0


class TokenCache:
    """Tokens, failures and rejections by token name. The keeper's lock guards every change.

    :ivar readable: the tokens that readers take without the lock. Values are replaced, never
        changed.
    :ivar tokens: these, and the *armed* ones: a token that was not read since it was published is
        not readable yet. Its first reader takes the slow path, where the use is noted.
    :ivar streaks: what fails right now.
    :ivar usage: when tokens were last used.
    """

    def __init__(
        self,
        cooldown_seconds: float,
        retry: RetryPolicy,
        clock: Clock,
        *,
        usage: Usage,
    ) -> None:
        self.readable: dict[str, CachedToken] = {}
        self.tokens: dict[str, CachedToken] = {}
        self._cells: weakref.WeakValueDictionary[str, Cell] = weakref.WeakValueDictionary()
        self.streaks: dict[str, FailureStreak] = {}
        self.usage: Usage = usage
        self._cooldown_seconds = cooldown_seconds
        self._retry = retry
        self._clock = clock
        self.rejections: Rejections = Rejections(clock)
        self.clock_steps: ClockSteps = ClockSteps(clock)
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Drop the cooldowns: another thread may have been in the middle of noting one."""
        self.cooldown: Cooldown = Cooldown(self._cooldown_seconds, self._retry, self._clock)

    # ---- entries

    def store(self, name: str, token: CachedToken, *, armed: bool = False) -> None:
        """Publish a new token. What failed before is forgotten.

        :param armed: whether its first reader has to take the slow path.
        """
        self.cooldown.forget(name)
        self.streaks.pop(name, None)
        self.rejections.granted(name, token.access_token)
        self.tokens[name] = token
        self._publish(name, None if armed else token)

    def cell(self, name: str) -> Cell:
        """Return the cell of *name*, which always holds what :attr:`readable` has of it."""
        found = self._cells.get(name)
        if found is None:
            found = self._cells[name] = Cell(self.readable.get(name))
        return found

    def _publish(self, name: str, token: CachedToken | None) -> None:
        """Let readers take *token* without the lock; ``None`` sends them to the slow path."""
        if token is None:
            self.readable.pop(name, None)
        else:
            self.readable[name] = token
        cell = self._cells.get(name)
        if cell is not None:
            cell.set(token)

    def _replace(self, name: str, token: CachedToken) -> CachedToken:
        """Publish *token* in place of the one that is cached; it stays armed if it was."""
        self.tokens[name] = token
        if name in self.readable:
            self._publish(name, token)
        return token

    def note_use(self, name: str) -> bool:
        """Note that the token *name* is used; return whether it was armed.

        From now on it is read without the lock.
        """
        token = self.tokens.get(name)
        if token is None or name in self.readable:
            return False
        self.usage.note(name)
        self._publish(name, token)
        return True

    def must_renew(self, name: str, token: CachedToken) -> bool:
        """Return whether *token*, which is due, is worth a renewal: it is not idle.

        Where it was read since it was published, the time of the last read is unknown, and now
        counts.
        """
        if name in self.readable:
            self.usage.note(name)
            return True
        return not self.usage.is_idle(name, token.ends_at)

    def was_read(self, name: str) -> bool:
        """Return whether the token *name* was read since it was armed, and arm it again."""
        was_read = name in self.readable
        self._publish(name, None)
        return was_read

    def arm_all(self) -> None:
        """Arm all tokens, in a forked child: what its parent reads says nothing of the child."""
        # A thread of the parent may have been in the middle of removing a cell.
        self._cells = weakref.WeakValueDictionary(dict(self._cells.items()))
        self._empty_cells()

    def _empty_cells(self) -> None:
        self.readable.clear()
        for cell in list(self._cells.values()):
            cell.set(None)

    def make_due(self, name: str) -> bool:
        """Have a token renewed at once and forget rejections; ``False`` if none is cached."""
        self.cooldown.forget(name)
        self.rejections.forget(name)
        token = self.tokens.get(name)
        if token is not None:
            self._replace(name, token.due_again(-math.inf))
        return token is not None

    def put_off(self, name: str, renew_at: float) -> CachedToken | None:
        """Have the token *name* renewed at *renew_at*, and return it; ``None`` if there is none."""
        token = self.tokens.get(name)
        return None if token is None else self._replace(name, token.due_again(renew_at))

    def forget(self, name: str) -> bool:
        """Forget all of *name*; return whether there was a token."""
        self.cooldown.forget(name)
        self.rejections.forget(name)
        self.streaks.pop(name, None)
        self.usage.forget(name)
        self._publish(name, None)
        return self.tokens.pop(name, None) is not None

    def clear(self) -> None:
        """Forget all tokens, because the keeper closes."""
        self._empty_cells()
        self.tokens.clear()

    # ---- tokens that APIs rejected

    def is_rejected(self, need: Need, token: CachedToken) -> bool:
        """Return whether an API rejected *token*, as *need* or other callers reported."""
        if need.refused is None:
            return False
        return need.refuses(token) or self.rejections.knows(need.token_name, token.access_token)

    def reject(self, name: str, token: CachedToken) -> tuple[CachedToken, Ruling]:
        """Note that an API rejected *token*; return what is cached now, and what follows."""
        ruling = self.rejections.note(name, token.access_token)
        if not ruling.keeps:
            token = self._replace(name, token.after_refusal())
        return token, ruling

    def was_rejected_before(self, name: str, token: CachedToken, *, after_rejection: bool) -> bool:
        """Return whether an API rejected *token*, which was just granted, before.

        :param after_rejection: whether it was requested because a token was rejected.
        """
        current = self.tokens.get(name)
        matters = after_rejection or (current is not None and current.is_refused)
        return matters and self.rejections.knows(name, token.access_token)

    def store_rejected(self, name: str, token: CachedToken) -> TokenRejectedError:
        """Publish a rejected token that the server granted again; return the error for callers.

        To the server it is valid, and other APIs may accept it.
        """
        self.store(name, token)
        self.rejections.granted_again(name)
        return self.rejections.error(name)

    # ---- failures

    def fail(
        self, name: str, error: OAuth2Error, policy: RetryPolicy, jitter: float
    ) -> FailureOutcome:
        """Note that a request failed; return when to try again, and what callers get meanwhile."""
        now = self._clock.monotonic()
        failures = self._count_failure(name, error, now)
        token = self.tokens.get(name)
        valid = token is not None and now < token.dead_at
        renew_at = None
        if token is not None:
            wait = policy.background_wait(failures, error, token.dead_at - now, jitter)
            self._replace(name, token.due_again(now + wait))
            if valid or is_transient(error):
                renew_at = now + wait
        if token is not None and valid:
            return FailureOutcome(renew_at, token.ends_at - now)
        if is_interruption(error.__cause__) or not isinstance(error, TokenAcquisitionError):
            return FailureOutcome(renew_at)
        return FailureOutcome(renew_at, cooldown_seconds=self.cooldown.note(name, error))

    def _count_failure(self, name: str, error: OAuth2Error, now: float) -> int:
        """Count the failure; return how many there were in a row before it."""
        before = self.streaks.get(name)
        failures = 0 if before is None else before.failures
        if not is_interruption(error.__cause__):  # which says nothing about the provider
            self.streaks[name] = FailureStreak(failures + 1, str(error), now)
        return failures

    # ---- clocks

    def follow_clocks(self, jitter: Callable[[], float]) -> dict[str, float]:
        """Bring tokens forward where the wall clock ran ahead; return when to renew which.

        See :mod:`tokenkeeper._runtime.clock_steps`.
        """
        step = self.clock_steps.take()
        if step is None:
            return {}
        now = self._clock.monotonic()
        due = {}
        for name, token in list(self.tokens.items()):
            moved = self._replace(name, token.after_step(step, now, jitter()))
            if now + step.set_back < token.dead_at and moved.renew_at < token.renew_at:
                due[name] = moved.renew_at
        return due

    def up_to_date(self, token: CachedToken) -> CachedToken:
        """Return *token* after the steps that the clocks took between its grant and now."""
        return token.caught_up(self.clock_steps.offset, self._clock.monotonic())
