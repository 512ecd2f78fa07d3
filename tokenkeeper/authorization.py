"""A sign-in that a person is to complete: what :meth:`TokenKeeper.authorize` returns."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tokenkeeper._renewal.polling import Polling
from tokenkeeper._renewal.sign_in_under_way import SignInUnderWay
from tokenkeeper._renewal.sign_ins import SignIns
from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.arguments import check_name, check_timeout
from tokenkeeper._support.checks import checked_scope, checked_text
from tokenkeeper._support.hiding import without_arguments
from tokenkeeper._support.redirects import checked_redirect_uri
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenWaitTimeoutError,
)
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import (
    TokenName,
    TokenParameters,
    is_chosen,
    parameters_in,
    provider_of,
)
from tokenkeeper.schedule import LONGEST_LIFE_SECONDS

if TYPE_CHECKING:
    from tokenkeeper.keeper import TokenKeeper

__all__ = ["Authorization", "begin_authorization", "complete_authorization"]

LOOK_SECONDS = 0.25
"""How often a wait looks whether the keeper was closed, or the sign-in has expired."""


class Authorization(NotPicklable):
    """A sign-in that has begun, and that a person completes at :attr:`url`. Thread-safe.

    Create it with :meth:`TokenKeeper.authorize`. It is used once. As a context manager, it stops
    listening at the end of the block; a sign-in of a web application can still be completed.
    """

    def __init__(self, keeper: TokenKeeper, sign_ins: Any, under_way: Any) -> None:
        self._keeper = keeper
        # Not in the signature: users need not know their types, which are the keeper's own.
        self._sign_ins: SignIns = sign_ins
        self._under_way: SignInUnderWay = under_way
        self._clock = keeper._clock  # noqa: SLF001 - a handle on a part of the keeper
        listener = under_way.listener
        self._changed = threading.Event() if listener is None else listener.changed
        self._closed = False
        self._polling: Polling[OAuth2Token] | None = None
        if under_way.is_polled:
            self._polling = self._sign_ins.polling(under_way)

    @property
    def url(self) -> str:
        """Where the person signs in. Show it, or redirect a browser to it; don't log it.

        ``""`` if the server asks the person on its own, as with CIBA.
        """
        return self._under_way.pending.url

    @property
    def user_code(self) -> str | None:
        """What the person enters at :attr:`url` (RFC 8628 §3.3); ``None`` if nothing."""
        return self._under_way.pending.user_code

    @property
    def state(self) -> str:
        """What ties the answer to this sign-in (RFC 6749 §10.12): keep it in the user's session.

        ``""`` for a grant without a redirect.
        """
        return self._under_way.pending.state

    @property
    def expires_at(self) -> datetime:
        """Until when the sign-in can be completed, in UTC."""
        return datetime.fromtimestamp(self._under_way.pending.expires_at, UTC)

    @property
    def token_name(self) -> TokenName:
        """The name of the token that it brings: the provider's, or an account's."""
        return TokenName(self._under_way.pending.token_name)

    def wait(self, timeout: float | None = None) -> OAuth2Token:
        """Wait until the person has signed in, complete the sign-in, and return the token.

        With a listener on this machine, this waits for the browser; with a device code or CIBA it
        asks the server, as often as that allows. Blocks the calling thread, and no other.

        :param timeout: how many seconds to wait at most; by default until the sign-in expires. A
            request that is under way is not broken off. It can be waited for again.
        :raises TokenWaitTimeoutError: if *timeout* passed first.
        :raises TokenAcquisitionError: if the person declined, the sign-in expired, or no token was
            granted. While the store can't be used, it is transient: wait again.
        :raises InvalidConfigurationError: if a web application of yours receives the answer. Call
            :meth:`complete` there.
        :raises KeeperClosedError: if the keeper or this object was closed.
        """
        check_timeout(timeout)
        if self._polling is not None:
            return self._polling.wait(self.poll, timeout)
        deadline = self.deadline(timeout)
        while True:
            if self.is_due():
                return self.proceed()
            self._clock.wait(self._changed, self.pause_seconds(deadline))

    @without_arguments
    def complete(self, callback_url: str) -> OAuth2Token:
        """Complete the sign-in with the URL that the browser was sent to, and return the token.

        The refresh token is stored before this returns. Sends one request, and none if the answer
        is not accepted.

        :param callback_url: the whole URL, with its query.
        :raises TokenAcquisitionError: if the answer is not for this sign-in or not from its server
            (RFC 9207), it was completed already, has expired, or was declined, or no token was
            granted.
        :raises KeeperClosedError: if the keeper was closed.
        """
        check_name(callback_url, "callback_url")
        if self._polling is not None:
            raise InvalidConfigurationError(
                "this sign-in has no redirect. Call wait(), which asks the server.",
                provider_name=self.token_name.provider_name,
            )
        token = self._sign_ins.complete(self._under_way, callback_url)
        self.close()
        return token

    def close(self) -> None:
        """Stop listening and waiting. Idempotent."""
        self._closed = True
        self._changed.set()
        if self._under_way.listener is not None:
            self._under_way.listener.close()
        if self._polling is not None:
            self._polling.fail(self._was_closed())

    # ---- for both fronts

    def deadline(self, timeout: float | None) -> float:
        """Return when a wait that begins now gives up, on the keeper's monotonic clock.

        :meta private:
        """
        if self.state and self._under_way.listener is None:
            raise InvalidConfigurationError(
                f"provider {self.token_name.provider_name!r}: the answer to this sign-in goes to "
                "its redirect_uri. Call complete() there, or keeper.complete_authorization().",
                provider_name=self.token_name.provider_name,
                field="redirect_uri",
            )
        return math.inf if timeout is None else self._clock.monotonic() + timeout

    def is_due(self) -> bool:
        """Return whether :meth:`proceed` has something to do.

        :meta private:
        """
        listener = self._under_way.listener
        if self._closed or self._sign_ins.is_too_late(self._under_way):
            return True
        return listener is not None and listener.answer() is not None

    @without_arguments  # the answer has the code
    def proceed(self) -> OAuth2Token:
        """Do what is due, and return the token.

        :meta private:
        """
        if self._closed:
            raise self._was_closed()
        listener = self._under_way.listener
        answer = None if listener is None else listener.answer()
        still_counts = False
        try:
            return self._sign_ins.complete(self._under_way, answer or "")
        except TokenAcquisitionError as error:  # nothing was requested, as without the store?
            still_counts = error.transient and not self._under_way.is_taken
            raise
        finally:
            if not still_counts:
                self.close()

    @property
    def polling(self) -> Polling[OAuth2Token] | None:
        """How the server is polled with :meth:`poll`; ``None`` if the answer is a redirect.

        :meta private:
        """
        return self._polling

    def poll(self) -> OAuth2Token:
        """Ask the server once whether the sign-in is complete, and return the token.

        :meta private:
        """
        return self._sign_ins.poll(self._under_way)

    def _was_closed(self) -> KeeperClosedError:
        return KeeperClosedError(
            f"provider {self.token_name.provider_name!r}: this sign-in was closed, or completed "
            "already.",
            provider_name=self.token_name.provider_name,
        )

    def pause_seconds(self, deadline: float) -> float:
        """Return how long to wait before looking again.

        :raises TokenWaitTimeoutError: if the wait gives up at *deadline*.

        :meta private:
        """
        now = self._clock.monotonic()
        if now >= deadline:
            name = self.token_name.provider_name
            raise TokenWaitTimeoutError(
                f"provider {name!r}: the person has not signed in within the timeout of this call. "
                "Wait again, or allow more time.",
                provider_name=name,
                transient=True,
            )
        return min(deadline - now, LOOK_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.token_name.provider_name!r}>"


def begin_authorization(
    keeper: TokenKeeper,
    provider_name: str,
    parameters: TokenParameters,
    *,
    scope: object,
    redirect_uri: str | None,
    login_hint: str | None,
    timeout_seconds: float,
) -> Authorization:
    """Do what :meth:`TokenKeeper.authorize` says.

    :meta private:
    """
    if redirect_uri is not None:
        checked_redirect_uri(redirect_uri)
    if login_hint is not None:
        checked_text(login_hint, "login_hint")
    provider_name, parameters = _of_account(provider_name, parameters)
    sign_ins = SignIns(keeper._coordinator)  # noqa: SLF001 - a part of the keeper
    under_way = sign_ins.begin(
        provider_name,
        parameters,
        scope=checked_scope(scope, "scope") or "",
        redirect_uri=redirect_uri,
        login_hint=login_hint,
        timeout_seconds=min(timeout_seconds, LONGEST_LIFE_SECONDS),
    )
    return Authorization(keeper, sign_ins, under_way)


def _of_account(name: str, parameters: TokenParameters) -> tuple[str, TokenParameters]:
    """Return the provider and the parameters that are meant, if *name* may be an account's token.

    :raises InvalidConfigurationError: if it is the name of any other token.
    """
    if not is_chosen(name):
        return name, parameters
    stated = parameters_in(name)
    if stated is None or stated.given() != ["account"] or parameters.account is not None:
        raise InvalidConfigurationError(
            f"provider {provider_of(name)!r}: a sign-in is for a provider or an account, and not "
            "for one token. Pass the provider's name, and what to authorize as arguments.",
            provider_name=provider_of(name),
            field="provider_name",
        )
    return provider_of(name), replace(parameters, account=stated.account)


@without_arguments
def complete_authorization(
    keeper: TokenKeeper, provider_name: str, callback_url: str, state: str
) -> str:
    """Do what :meth:`TokenKeeper.complete_authorization` says; return the name of the token.

    :meta private:
    """
    sign_ins = SignIns(keeper._coordinator)  # noqa: SLF001 - a part of the keeper
    under_way = sign_ins.find(provider_of(provider_name), callback_url, state)
    sign_ins.complete(under_way, callback_url)
    return under_way.pending.token_name
