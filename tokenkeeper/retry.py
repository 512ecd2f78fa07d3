"""Which errors are worth a retry, and how long to wait before it. The only layer that retries."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tokenkeeper._runtime.fork import late_import
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

    from tenacity import RetryCallState, Retrying

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
    """How often to repeat a request that failed, and how long to wait. Immutable and picklable.

    Only failures that may pass are repeated: connection errors, timeouts, and answers such as
    HTTP 503. Waits grow exponentially with full jitter: the wait after request *n* is drawn evenly
    from 0 to ``initial_wait_seconds * 2**(n-1)``, at most ``max_wait_seconds``. If the server sent
    ``Retry-After``, that is the wait, up to ``max_retry_after_seconds``.

    :param attempts: the most requests for one token, including the first; 4 by default.
    :param initial_wait_seconds: the longest wait after the first request; 0.5 by default.
    :param max_wait_seconds: the longest wait after any request; 10 by default.
    :param max_retry_after_seconds: the longest ``Retry-After`` that is honoured in full; 60 by
        default.
    :param total_seconds: no retry starts later than this after the first request; 60 by default.
    :param background_wait_seconds: the longest wait between renewals that fail in the background;
        60 by default.
    :raises InvalidConfigurationError: for a negative or infinite number, or less than one attempt.
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

    def wait_seconds(self, attempts: int, error: BaseException | None, jitter: float) -> float:
        """Return how long to wait before the next request while a caller waits for a token.

        :param attempts: the requests made so far, at least 1.
        :param error: the error of the last one.
        :param jitter: a number from 0 to 1.
        """
        growing = self.initial_wait_seconds * 2.0 ** min(attempts - 1, 30)
        own_wait = min(growing, self.max_wait_seconds) * jitter
        return self.retry_after_seconds(error) or own_wait

    def retry_after_seconds(self, error: BaseException | None) -> float:
        """Return the server's ``Retry-After`` up to the cap, or 0 if *error* has none."""
        asked = error.retry_after if isinstance(error, TokenAcquisitionError) else None
        return min(asked, self.max_retry_after_seconds) if asked and asked > 0 else 0.0

    def background_wait(
        self, failures: int, error: BaseException, remaining: float, jitter: float
    ) -> float:
        """Return how long to wait before the next renewal in the background.

        :param failures: the renewals that failed in a row before this one.
        :param error: the error of this one.
        :param remaining: the seconds that the token can still be used. While it can, the wait
            leaves time for several more renewals, unless the server sent ``Retry-After``.
        :param jitter: a number from 0 to 1.
        """
        if is_transient(error):
            growing = self.initial_wait_seconds * 2.0 ** min(failures, 30)
            wait = min(growing, self.background_wait_seconds)
        else:  # asking again soon would change nothing, and might lock the account
            wait = self.background_wait_seconds
        wait *= (1 + jitter) / 2
        if remaining > 0:
            wait = min(wait, max(remaining / 3, self.initial_wait_seconds))
        return max(wait, self.retry_after_seconds(error))


DEFAULT_RETRY = RetryPolicy()


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed later.

    A :class:`~tokenkeeper.exceptions.TokenAcquisitionError` knows this itself
    (``error.transient``). Connection errors and timeouts of other classes may pass. All other
    errors are final.
    """
    if isinstance(error, TokenAcquisitionError):
        return error.transient
    # Custom providers may use requests, whose errors do not derive from the built-in ones. If it
    # was never imported, it raised nothing.
    requests = sys.modules.get("requests.exceptions")
    kinds = (requests.ConnectionError, requests.Timeout) if requests else ()
    return isinstance(error, (ConnectionError, TimeoutError, *kinds))


def as_oauth2_error(error: BaseException, provider_name: str) -> OAuth2Error:
    """Return *error* as an :class:`OAuth2Error` that names the provider.

    An error of another class becomes the ``__cause__`` of a new one. Its text is left out, because
    it may contain a secret.
    """
    if isinstance(error, OAuth2Error):
        if error.provider_name is None:
            error.provider_name = provider_name
        return error
    transient = is_transient(error) or is_interruption(error)
    advice = "This may pass." if transient else "Fix the provider."
    ours = TokenAcquisitionError(
        f"provider {provider_name!r} raised {type(error).__name__}. {advice} "
        "See __cause__ for details.",
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
    is_worthwhile: Callable[[BaseException], bool] = is_transient,
) -> T:
    """Call *attempt* until it succeeds, fails for good, or another try is not worthwhile.

    :param closing: set when the keeper closes; ends a wait at once and allows no retry.
    :param wanted_at: returns whether any caller will still wait for the result at a time on
        *clock*. If none will, the renewal is left to the background.
    :param is_worthwhile: returns whether another try may help after an error; by default
        :func:`is_transient`.
    :raises KeeperClosedError: if *closing* was set during a wait.
    :raises BaseException: the error of the last attempt. If it is a ``TokenAcquisitionError``, its
        ``attempts`` is set.
    """
    began = clock.monotonic()
    try:
        return attempt()
    except Exception as error:
        worthwhile = is_worthwhile(error)
        if isinstance(error, TokenAcquisitionError):
            error.attempts = 1
        if not worthwhile:
            raise
        failed = [error]  # a list, which can be emptied: nothing here must keep the error alive

    def attempt_again() -> T:
        if failed:  # the engine counts from the first attempt, which has been made
            raise failed.pop()
        return attempt()

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

    return _retry(attempt_again, policy, is_worthwhile, stop, sleep)


def _retry(
    attempt: Callable[[], T],
    policy: RetryPolicy,
    is_worthwhile: Callable[[BaseException], bool],
    stop: Callable[[RetryCallState], bool],
    sleep: Callable[[float], None],
) -> T:
    try:
        # Most processes never see a failure that is worth a retry, so they don't pay for this.
        tenacity = late_import("tenacity")
    except (ImportError, OSError):  # no file descriptor is left, or the interpreter is ending
        return attempt()  # raises the error of the first attempt

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        jitter = random.random()  # noqa: S311 - it spreads load, and protects nothing
        return policy.wait_seconds(state.attempt_number, error, jitter)

    retrying: Retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(is_worthwhile),
        wait=wait,
        stop=stop,
        sleep=sleep,
        reraise=True,
    )
    try:
        return retrying(attempt)
    except TokenAcquisitionError as error:
        error.attempts = retrying.statistics["attempt_number"]
        raise
    finally:
        # tenacity's state of the last attempt refers to itself, and through stop() to the old
        # token, which would stay in memory until the next garbage collection.
        retrying.iter_state.reset()
