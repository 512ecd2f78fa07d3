"""What a keeper knows of its tokens: those it holds, what failed, and what was refused lately."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.cooldown import Cooldown
from tokenkeeper._renewal.rejections import Rejections, Ruling
from tokenkeeper._runtime.clock_steps import ClockSteps
from tokenkeeper.clock import Clock, utc
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError, TokenRejectedError
from tokenkeeper.retry import RetryPolicy, is_interruption, is_transient

__all__ = ["FailureOutcome", "FailureStreak", "TokenCache"]


@dataclass(frozen=True, slots=True)
class FailureStreak:
    """Requests for one token that failed in a row.

    :ivar failures: how many, since the last that worked.
    :ivar error: the last one, in words.
    :ivar at: when that was, on the keeper's monotonic clock.
    """

    failures: int
    error: str
    at: float


class FailureOutcome(NamedTuple):
    """What follows from a failure.

    :ivar renew_at: when to try again in the background; ``None`` for not by itself.
    :ivar remaining_seconds: how long the token at hand lives; 0 if none can be used.
    :ivar cooldown_seconds: how long callers get the same error; 0 if they do not.
    """

    renew_at: float | None = None
    remaining_seconds: float = 0.0
    cooldown_seconds: float = 0.0


class TokenCache:
    """The books of a keeper, whose lock guards every change.

    :ivar held: by provider name; read without the lock. Values are replaced, never changed.
    :ivar troubles: likewise; only of what fails right now.
    """

    def __init__(self, cooldown_seconds: float, retry: RetryPolicy, clock: Clock) -> None:
        self.cached: dict[str, CachedToken] = {}
        self.streaks: dict[str, FailureStreak] = {}
        self._cooldown_seconds = cooldown_seconds
        self._retry = retry
        self._clock = clock
        self.rejections: Rejections = Rejections(clock)
        self.clock_steps: ClockSteps = ClockSteps(clock)
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Let refusals go: another thread may have been in the middle of noting one."""
        self.cooldown: Cooldown = Cooldown(self._cooldown_seconds, self._retry, self._clock)

    # ---- entries

    def keep(self, name: str, cached: CachedToken) -> None:
        """Publish a token that came."""
        self.cooldown.forget(name)
        self.streaks.pop(name, None)
        self.rejections.granted(name, cached.access_token)
        self.cached[name] = cached

    def refuse(self, name: str, cached: CachedToken) -> tuple[CachedToken, Ruling]:
        """Note that an API refused *held*; return what is held now, and what follows."""
        ruling = self.rejections.note(name, cached.access_token)
        if not ruling.keeps:
            cached = self.cached[name] = cached.after_refusal()
        return cached, ruling

    def brings_refused(self, name: str, cached: CachedToken, *, after_refusal: bool) -> bool:
        """Return whether *held*, newly granted, was refused by an API before.

        :param after_refusal: whether it was asked for because a token was refused.
        """
        current = self.cached.get(name)
        wanted = after_refusal or (current is not None and current.is_refused)
        return wanted and self.rejections.knows(name, cached.access_token)

    def keep_refused(self, name: str, cached: CachedToken) -> TokenRejectedError:
        """Publish a refused token that the server granted again; return the error for callers.

        The server says that it is valid, and other APIs may accept it.
        """
        self.keep(name, cached)
        self.rejections.granted_again(name)
        return self.rejections.error(name)

    def advance(self, name: str) -> bool:
        """Have a token renewed at once and forget what was refused; ``False`` if none is held."""
        self.cooldown.forget(name)
        self.rejections.forget(name)
        cached = self.cached.get(name)
        if cached is not None:
            self.cached[name] = replace(cached, renew_at=-math.inf)
        return cached is not None

    def forget(self, name: str) -> bool:
        """Forget all of *name*; say if there was a token."""
        self.cooldown.forget(name)
        self.rejections.forget(name)
        self.streaks.pop(name, None)
        return self.cached.pop(name, None) is not None

    def fail(
        self, name: str, error: OAuth2Error, policy: RetryPolicy, jitter: float
    ) -> FailureOutcome:
        """Note that no token came, and say when to try again, and for whom."""
        now = self._clock.monotonic()
        failures = self._note_trouble(name, error, now)
        cached = self.cached.get(name)
        valid = cached is not None and now < cached.dead_at
        renew_at = None
        if cached is not None:
            wait = policy.background_wait(failures, error, cached.dead_at - now, jitter)
            self.cached[name] = cached.due_again(now + wait)
            if valid or is_transient(error):
                renew_at = now + wait
        if cached is not None and valid:
            return FailureOutcome(renew_at, cached.ends_at - now)
        if is_interruption(error.__cause__) or not isinstance(error, TokenAcquisitionError):
            return FailureOutcome(renew_at)
        return FailureOutcome(renew_at, cooldown_seconds=self.cooldown.note(name, error))

    def _note_trouble(self, name: str, error: OAuth2Error, now: float) -> int:
        """Count the failure; return how many there were in a row before it."""
        before = self.streaks.get(name)
        failures = 0 if before is None else before.failures
        if not is_interruption(error.__cause__):  # which says nothing of the provider
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
        for name, cached in self.cached.items():
            moved = self.cached[name] = cached.after_step(step, now, jitter())
            if now + step.set_back < cached.dead_at and moved.renew_at < cached.renew_at:
                due[name] = moved.renew_at
        return due

    def up_to_date(self, cached: CachedToken) -> CachedToken:
        """Return *held* after the steps that the clocks took between its grant and now."""
        return cached.caught_up(self.clock_steps.offset, self._clock.monotonic())

    # ---- what a person may know

    def describe(self, name: str) -> dict[str, Any] | None:
        """Return diagnostics of a token, without a secret; ``None`` if there is none."""
        cached = self.cached.get(name)
        if cached is None:
            return None
        streak = self.streaks.get(name)
        return {
            "provider_name": name,
            **cached.describe(self._clock),
            "failures": 0 if streak is None else streak.failures,
            "last_error": None if streak is None else streak.error,
        }

    def health(self, names: Iterable[str]) -> dict[str, Any]:
        """Return whether callers of *names* can be served."""
        providers = {name: self._health_of(name) for name in names}
        found = {each["status"] for each in providers.values()}
        worst = next((status for status in ("down", "degraded") if status in found), "ok")
        return {"status": worst, "providers": providers}

    def _health_of(self, name: str) -> dict[str, Any]:
        now = self._clock.monotonic()
        cached, streak = self.cached.get(name), self.streaks.get(name)
        told = {} if cached is None else cached.describe(self._clock)
        rejecting = self.rejections.is_rejecting(name)
        last_error = None if streak is None else streak.error
        if rejecting and last_error is None:
            last_error = str(self.rejections.error(name))
        if told.get("state", "expired") != "expired":
            status = "degraded" if streak is not None or rejecting else "ok"
        else:
            status = "idle" if streak is None else "down"
        return {
            "status": status,
            "state": told.get("state"),
            "remaining_seconds": told.get("remaining_seconds"),
            "renews_in_seconds": told.get("renews_in_seconds"),
            "failures": 0 if streak is None else streak.failures,
            "last_error": last_error,
            "last_failure_at": streak and utc(self._clock, streak.at - now).isoformat(),
            **({"refused_by_api": self.rejections.tokens(name)} if rejecting else {}),
        }
