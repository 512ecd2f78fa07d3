"""A sign-in that this process knows of, and how it is completed once, or polled for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tokenkeeper._renewal.polling import Polling
from tokenkeeper._runtime.background import Background
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.loopback_listener import LoopbackListener
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.grants.sign_in import ForeignAnswerError, PendingSignIn

__all__ = ["Finishing", "SignInUnderWay", "no_longer_there", "polling_of"]


class SignInUnderWay:
    """A sign-in that this process knows of. Thread-safe.

    :ivar provider: whose it is: for an account, the provider's variant.
    :ivar pending: what its grant knows.
    :ivar listener: receives the answer on this machine; ``None`` if something else does.
    :ivar is_taken: whether somebody has completed it, or begun to.
    """

    def __init__(
        self,
        provider: BaseOAuth2Provider,
        pending: PendingSignIn,
        listener: LoopbackListener | None,
        take: Callable[[], bool] | None = None,
    ) -> None:
        self.provider = provider
        self.pending = pending
        self.listener = listener
        self._take = take
        self._lock = threading.Lock()  # guards the next one
        self.is_taken = False

    @property
    def is_polled(self) -> bool:
        """Whether the server is asked again and again, so that asking does not end it."""
        return self.pending.interval_seconds is not None

    def take(self) -> None:
        """Be the only one to complete it.

        :raises TokenAcquisitionError: if that was done, or is being done.
        """
        if self.is_polled:
            return
        with self._lock:
            is_first, self.is_taken = not self.is_taken, True
        try:
            is_mine = is_first and (self._take is None or self._take())
        except TokenAcquisitionError:  # the store can't be used: it is still there
            self.is_taken = False
            raise
        if not is_mine:
            raise no_longer_there(self.provider.provider_name)


class Finishing(BaseOAuth2Provider):
    """Completes one sign-in as if that were the request of a token. Used once."""

    def __init__(self, under_way: SignInUnderWay, callback_url: str | None) -> None:
        provider = under_way.provider
        super().__init__(provider.provider_name, buffer_seconds=provider.buffer_seconds)
        self._under_way = under_way
        self._callback_url = callback_url

    def acquire_token(self) -> OAuth2Token:
        """Check the answer, and send the request."""
        under_way = self._under_way
        return under_way.provider.finish_sign_in(
            under_way.pending, self._callback_url, once=under_way.take
        )


def polling_of(
    under_way: SignInUnderWay,
    failed: Callable[[OAuth2Error], object],
    background: Background,
    clock: Clock,
) -> Polling[OAuth2Token]:
    """Return how the server is polled for a sign-in that has an interval.

    :param failed: called once with the error that ends it.
    """
    pending = under_way.pending
    return Polling(
        under_way.provider.provider_name,
        interval_seconds=pending.interval_seconds or 0.0,
        expires_at=pending.expires_at,
        next_interval=under_way.provider.sign_in_wait_seconds,
        failed=failed,
        open_waits=background.open_waits,
        clock=clock,
    )


def no_longer_there(name: str) -> ForeignAnswerError:
    """Return the error for a sign-in of the provider *name* that can't be completed any more."""
    return ForeignAnswerError(
        f"provider {name!r}: there is no such sign-in: it was completed already, it has expired, "
        "or it was begun for another client. Begin a new one.",
        provider_name=name,
        transient=False,
    )
