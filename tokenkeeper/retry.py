"""What is worth a retry, and how long to wait before it. The only layer that retries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception
from tenacity.wait import wait_random_exponential

from tokenkeeper._runtime.interruptions import is_interruption
from tokenkeeper._support.arguments import check_number
from tokenkeeper._support.network import network_reason
from tokenkeeper.exceptions import (
    KeeperClosedError,
    OAuth2Error,
    TokenAcquisitionError,
)

if TYPE_CHECKING:
    import threading

    from tokenkeeper.clock import Clock

__all__ = [
    "DEFAULT_RETRY",
    "RetryPolicy",
    "as_oauth2_error",
    "call_with_retries",
    "is_interruption",
    "is_transient",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How hard to try. A value: share it, compare it, hand one to each provider.

    Waits grow exponentially with full jitter: the wait after attempt *n* is drawn evenly from 0
    to ``initial_wait_seconds * 2**(n-1)``, at most ``max_wait_seconds``. A server's
    ``Retry-After`` takes their place, up to ``max_retry_after_seconds``.

    :param attempts: requests at most, the first one included.
    :param initial_wait_seconds: the longest wait after the first attempt.
    :param max_wait_seconds: the longest wait of all.
    :param max_retry_after_seconds: the longest ``Retry-After`` that is honoured in full.
    :param total_seconds: no retry begins later than this after the first attempt began.
    :param background_wait_seconds: the longest wait between renewals that fail in the background.
    :raises InvalidConfigurationError: for a number that can't work.
    """

    attempts: int = 4
    initial_wait_seconds: float = 0.5
    max_wait_seconds: float = 10.0
    max_retry_after_seconds: float = 60.0
    total_seconds: float = 60.0
    background_wait_seconds: float = 60.0

    def __post_init__(self) -> None:
        check_number(self.attempts, "attempts", least=1, whole=True)
        for name in self.__slots__:
            check_number(getattr(self, name), name, least=0)

    def wait_seconds(self, state: RetryCallState) -> float:
        """Return the wait after the failed attempt that *state* tells of."""
        error = state.outcome.exception() if state.outcome else None
        return self.retry_after_seconds(error) or wait_random_exponential(
            multiplier=self.initial_wait_seconds, max=self.max_wait_seconds
        )(state)

    def retry_after_seconds(self, error: BaseException | None) -> float:
        """Return how long the server asked to be left alone, up to the cap; 0 if it did not."""
        asked = error.retry_after if isinstance(error, TokenAcquisitionError) else None
        return min(asked, self.max_retry_after_seconds) if asked and asked > 0 else 0.0

    def background_wait(
        self, failures: int, error: BaseException, remaining: float, jitter: float
    ) -> float:
        """Return how long the refresher waits after *failures* renewals failed in a row.

        :param remaining: the seconds that the token can still be used. While there are any, they
            hold several more tries; a server that asked to be left alone is left alone.
        :param jitter: a number from 0 to 1.
        """
        if is_transient(error):
            growing = self.initial_wait_seconds * 2.0 ** min(failures, 30)
            wait = min(growing, self.background_wait_seconds)
        else:  # nothing heals by asking again soon, and accounts get locked
            wait = self.background_wait_seconds
        wait *= (1 + jitter) / 2
        if remaining > 0:
            wait = min(wait, max(remaining / 3, self.initial_wait_seconds))
        return max(wait, self.retry_after_seconds(error))


DEFAULT_RETRY = RetryPolicy()


def is_transient(error: BaseException) -> bool:
    """Return whether trying again, with nothing changed, may work.

    A :class:`~tokenkeeper.exceptions.TokenAcquisitionError` says so itself (``error.transient``).
    Of other errors, connection errors and timeouts may pass; all else is final.
    """
    if isinstance(error, TokenAcquisitionError):
        return error.transient
    # A provider of one's own may well use requests, whose errors are not the built-in ones.
    # Where it was never imported, none of its errors can have been raised.
    requests = sys.modules.get("requests.exceptions")
    kinds = (requests.ConnectionError, requests.Timeout) if requests else ()
    return isinstance(error, (ConnectionError, TimeoutError, *kinds))


def as_oauth2_error(error: BaseException, provider_name: str) -> OAuth2Error:
    """Return *error* as one of ours, naming the provider; the root stays as ``__cause__``.

    A foreign error's text is left out, as nobody knows what it holds; its type says enough, and
    the root is there to be looked at.
    """
    if isinstance(error, OAuth2Error):
        if error.provider_name is None:
            error.provider_name = provider_name
        return error
    transient = is_transient(error) or is_interruption(error)
    advice = "it may pass" if transient else "mend the provider"
    ours = TokenAcquisitionError(
        f"provider {provider_name!r} raised {type(error).__name__}: {advice}; "
        "__cause__ has the details",
        provider_name=provider_name,
        transient=transient,
        network_reason=network_reason(error),
    )
    ours.__cause__ = error
    return ours


def call_with_retries(
    attempt: Callable[[], T],
    policy: RetryPolicy,
    *,
    clock: Clock,
    closing: threading.Event,
    wanted_at: Callable[[float], bool],
) -> T:
    """Call *attempt* until it works, is refused for good, or is not worth another try.

    :param closing: set when the keeper closes; ends a wait at once and allows no retry.
    :param wanted_at: whether anyone will still wait for the result at a moment on *clock*. Where
        nobody waits there is no hurry either: the refresher comes back later.
    :raises KeeperClosedError: if *closing* was set during a wait.
    :raises BaseException: what the last attempt raised; ``attempts`` is filled in on ours.
    """
    began = clock.monotonic()

    def stop(state: RetryCallState) -> bool:
        resumes = clock.monotonic() + state.upcoming_sleep
        return (
            state.attempt_number >= policy.attempts
            or closing.is_set()
            or resumes - began > policy.total_seconds
            or not wanted_at(resumes)
        )

    def sleep(seconds: float) -> None:
        if clock.wait(closing, seconds):
            raise KeeperClosedError("the keeper was closed while this token was fetched")

    retrying = Retrying(
        retry=retry_if_exception(is_transient),
        wait=policy.wait_seconds,
        stop=stop,
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except OAuth2Error as error:
        if isinstance(error, TokenAcquisitionError):
            error.attempts = retrying.statistics["attempt_number"]
        raise
    finally:
        # tenacity's notes on the last attempt refer to themselves, and through stop() to the old
        # token, which would stay in memory until the collector comes by.
        retrying.iter_state.reset()
