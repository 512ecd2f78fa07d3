"""Requests with refresh tokens that work once, made by a helper process: ``detached: true``.

A helper has a session of its own, makes the request, and stores what comes of it. So nothing is
lost if the process that started it is killed at any moment. That process hands over its claim, and
waits for the answer as if it had made the request itself.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable

from tokenkeeper._renewal.detached_job import (
    DONE,
    HEADER,
    STARTED,
    Answer,
    Job,
    framed,
    length_of,
)
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.held import Held
from tokenkeeper._renewal.helper_process import HelperProcess, interpreter
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy

__all__ = ["DetachedRequests", "Handover"]

START_SECONDS = 20.0
"""How long a helper may take to start, on a busy machine. Most take 0.2 s."""

PUBLISH_SECONDS = 5.0
"""How long to wait until a helper has stored the token that it answered with."""

POLL_SECONDS = 0.25
"""When to look at the store again if a helper did not answer."""


class DetachedRequests:
    """Hands requests over to helper processes. Thread-safe.

    :param retry: the policy for transient failures, where a provider has none of its own.
    :param cooldown_seconds: for how long a final refusal spares the fleet a request.
    :raises InvalidConfigurationError: if this program can't start a helper, or the store can't be
        opened in another process.
    """

    def __init__(self, fleet: Fleet, retry: RetryPolicy, cooldown_seconds: float) -> None:
        interpreter()
        settings = fleet.settings
        self._fleet = fleet
        self._store = settings.options or settings
        self._retry = retry
        self._cooldown_seconds = cooldown_seconds
        try:
            pickle.dumps(self._store)
        except Exception as error:  # noqa: BLE001 - pickling may raise anything
            raise InvalidConfigurationError(
                f"store.detached is true, but {settings.label or 'this store'} can't be opened in "
                f"another process ({type(error).__name__}). Give the store as a URL, or make its "
                "class picklable.",
                field="store.detached",
            ) from None

    def check(self, provider: BaseOAuth2Provider) -> None:
        """Raise unless *provider* can be made in another process, if it must be.

        :raises InvalidConfigurationError: says what the provider lacks.
        """
        if provider.repeatable:
            return
        try:
            made = provider.for_another_process()
            content = pickle.dumps(made)
        except InvalidConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - pickling may raise anything
            raise _not_portable(provider, f"can't be pickled ({type(error).__name__})") from None
        if b"__main__" in content:
            raise _not_portable(
                provider, "is defined in the program that was started, which it can't import"
            )

    def provider(self, renewal: Renewal, held: Held) -> Handover:
        """Return a provider that has a helper make the one request of *renewal*."""

        def job(method: str, token: OAuth2Token | None) -> bytes:
            provider = renewal.provider
            self.check(provider)
            return framed(
                Job(
                    make_provider=provider.for_another_process(),
                    method=method,
                    token=token,
                    store=self._store,
                    token_name=renewal.token_name,
                    replaces=renewal.replaces,
                    held=held,
                    longest_request_seconds=provider.longest_request_seconds,
                    place=self._fleet.place,
                    retry=provider.retry or self._retry,
                    cooldown_seconds=self._cooldown_seconds,
                )
            )

        return Handover(renewal.provider, job, self._fleet.become_another)


def _not_portable(provider: BaseOAuth2Provider, why: str) -> InvalidConfigurationError:
    name = provider.provider_name
    return InvalidConfigurationError(
        f"provider {name!r}: store.detached is true, so another process must be able to make this "
        f"provider, but what its for_another_process() returns {why}.",
        provider_name=name,
        field="store.detached",
    )


class Handover(BaseOAuth2Provider):
    """Makes one request of a provider in a helper process. Used by one thread, once.

    :param job: returns the job for a method and its argument.
    :param handed_over: called once the helper has the claim.
    :ivar is_under_way: whether the helper may have made the request, and its outcome is unknown.
    """

    def __init__(
        self,
        provider: BaseOAuth2Provider,
        job: Callable[[str, OAuth2Token | None], bytes],
        handed_over: Callable[[], None],
    ) -> None:
        super().__init__(provider.provider_name, buffer_seconds=provider.buffer_seconds)
        self.longest_request_seconds = provider.longest_request_seconds
        self._job = job
        self._handed_over = handed_over
        self.is_under_way = False

    def acquire_token(self) -> OAuth2Token:
        """Have the helper request a first token."""
        return self._answer("acquire_token", None)

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Have the helper replace *token*."""
        return self._answer("refresh_token", token)

    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token:
        """Have the helper replace *token*, which an API rejected."""
        return self._answer("replace_refused_token", token)

    def _answer(self, method: str, token: OAuth2Token | None) -> OAuth2Token:
        try:
            helper = HelperProcess(self._job(method, token))
        except OSError as error:
            raise self._not_started(str(error)) from error
        try:
            answer = self._answer_of(helper)
        finally:
            helper.close()
        if answer is None:
            raise LookAgain(POLL_SECONDS)
        self.is_under_way = False
        if isinstance(answer, OAuth2Error):
            raise answer
        return answer

    def _answer_of(self, helper: HelperProcess) -> Answer | None:
        """Return what came of the request; ``None`` if that is not known."""
        self.is_under_way = True
        try:
            helper.hand_over()
        except OSError:
            self.is_under_way = False
            raise self._not_started("it ended at once") from None
        self._handed_over()
        started_by = SYSTEM_CLOCK.monotonic() + START_SECONDS
        started = helper.read(1, started_by)
        if started != STARTED:
            if SYSTEM_CLOCK.monotonic() < started_by:
                self.is_under_way = False  # it ended, and has sent nothing
                raise self._not_started("it ended at once")
            return None
        ends_at = SYSTEM_CLOCK.monotonic() + self.longest_request_seconds + PUBLISH_SECONDS
        header = helper.read(HEADER.size, ends_at)
        if len(header) < HEADER.size:
            return None
        length = length_of(header)
        content = helper.read(length, ends_at)
        if len(content) < length:
            return None
        helper.read(len(DONE), SYSTEM_CLOCK.monotonic() + PUBLISH_SECONDS)
        answer: Answer = pickle.loads(content)  # noqa: S301 - from our own helper, by a pipe
        return answer

    def _not_started(self, why: str) -> TokenAcquisitionError:
        name = self.provider_name
        return TokenAcquisitionError(
            f"provider {name!r}: the helper process that makes its requests (store.detached) did "
            f"not start: {why}. Nothing was sent. Check that {interpreter()} can import "
            "tokenkeeper, and the class of the provider.",
            provider_name=name,
            transient=True,
        )
