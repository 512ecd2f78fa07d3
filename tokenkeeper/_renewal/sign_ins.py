"""Begins sign-ins, and completes them: the first refresh token is stored before anything else.

.. code-block:: text

    begin     the provider's grant makes the URL                        SignInStarted
              an answer that comes by a web application: kept in the store
    check     the answer is for this sign-in, from the right server     or else it does not count
    once      it was not completed before                               or else raise
    ask       one request
    store     the refresh token, in the record of its grant
    forget    what this process had of the grant before                 SignInCompleted
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import cast

from tokenkeeper._renewal.attempt import request_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.coordinator import Coordinator
from tokenkeeper._renewal.joining import Membership
from tokenkeeper._renewal.new_grant import store_new_grant
from tokenkeeper._renewal.pending import PendingSignIns
from tokenkeeper._renewal.runner import closed_meanwhile
from tokenkeeper._renewal.served_grant import serve_new_grant
from tokenkeeper._renewal.sign_in_under_way import Finishing, SignInUnderWay, no_longer_there
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import SignInCompleted, SignInFailed, SignInStarted
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    OAuth2Error,
    StoreUnavailableError,
    TokenAcquisitionError,
)
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters, is_chosen
from tokenkeeper.oauth.authorization_answer import is_same_text, read_answer
from tokenkeeper.oauth.loopback_listener import LoopbackListener
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.grants.sign_in import Asked, ForeignAnswerError, PendingSignIn
from tokenkeeper.retry import as_oauth2_error, is_transient

__all__ = ["SignIns"]


class SignIns:
    """Begins and completes the sign-ins of one keeper. Thread-safe; blocks; has no state."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._state = coordinator.state
        self._runner = coordinator.runner
        self._clock: Clock = coordinator.runner.clock

    # ---- begin

    def begin(
        self,
        provider_name: str,
        parameters: TokenParameters,
        *,
        scope: str,
        redirect_uri: str | None,
        login_hint: str | None,
        timeout_seconds: float,
    ) -> SignInUnderWay:
        """Begin a sign-in. May send requests.

        :raises OAuth2Error: if it can't be begun.
        """
        provider = self._provider(provider_name, parameters.account)
        opened: list[LoopbackListener] = []

        def listen(port: int | None) -> str:
            opened.append(LoopbackListener(port))
            return opened[0].redirect_uri

        asked = Asked(
            provider.grant_name,
            parameters,
            scope,
            redirect_uri,
            login_hint,
            self._clock.time(),
            timeout_seconds,
            listen=listen,
        )
        try:
            pending = provider.begin_sign_in(asked)
            under_way = self._begun(provider, pending, opened)
        except BaseException as error:
            for listener in opened:
                listener.close()
            if isinstance(error, Exception):
                raise self._failed(error, provider) from error.__cause__
            raise
        self._report(SignInStarted, provider)
        return under_way

    def _begun(
        self, provider: BaseOAuth2Provider, pending: PendingSignIn, opened: list[LoopbackListener]
    ) -> SignInUnderWay:
        if opened:
            opened[0].expect(pending.state)
            return SignInUnderWay(provider, pending, opened[0])
        if pending.interval_seconds is not None:
            return SignInUnderWay(provider, pending, None)
        kept = self._kept(provider)
        kept.put(provider, pending)
        return SignInUnderWay(provider, pending, None, lambda: kept.take(provider, pending.state))

    # ---- complete

    def find(self, provider_name: str, callback_url: str, state: str) -> SignInUnderWay:
        """Return the sign-in that *callback_url* is the answer to, wherever it was begun.

        :param state: what the person's own session remembers.
        :raises TokenAcquisitionError: if the URL has another ``state``, or there is no such
            sign-in.
        """
        provider = self._provider(provider_name, None)
        if not state or not is_same_text(read_answer(callback_url).state, state):
            raise TokenAcquisitionError(
                f"provider {provider_name!r}: the answer to the sign-in was not accepted: its "
                "state is not that of this session. Nothing was requested with it.",
                provider_name=provider_name,
                transient=False,
            )
        kept = self._kept(provider)
        pending = kept.find(provider, state)
        if pending is None:
            raise no_longer_there(provider_name)
        if is_chosen(pending.token_name):
            provider = self._state.registry.variant(pending.token_name).provider
        return SignInUnderWay(provider, pending, None, lambda: kept.take(provider, state))

    def complete(self, under_way: SignInUnderWay, callback_url: str) -> OAuth2Token:
        """Complete a sign-in with the answer *callback_url*, and return the token.

        :raises TokenAcquisitionError: if it has failed, or the answer is not accepted.
        """
        return cast("OAuth2Token", self.finish(under_way, callback_url))

    def finish(
        self, under_way: SignInUnderWay, callback_url: str | None = None
    ) -> OAuth2Token | None:
        """Complete a sign-in by one request, and return the token.

        :returns: ``None`` if the person has not signed in yet, and the server is to be asked again
            after ``under_way.interval_seconds``.
        :raises TokenAcquisitionError: if it has failed, or the answer is not accepted.
        """
        provider = under_way.provider
        self.check(under_way)
        membership = self._membership(provider)
        try:
            with membership.one_time.under_way(provider, _nothing):
                token = self._granted(under_way, callback_url)
                token = self._stored(membership, provider, token)
        except ForeignAnswerError:
            raise
        except TokenAcquisitionError as error:
            if under_way.is_polled:
                interval = under_way.interval_seconds or 0.0
                wait = provider.sign_in_wait_seconds(error, interval)
                if wait is not None:
                    under_way.interval_seconds = wait
                    return None
            elif not under_way.is_taken:
                if is_transient(error):  # nothing was requested, and the answer still counts
                    raise
                with suppress(OAuth2Error):
                    under_way.take()  # a denial is the answer, too
            raise self._failed(error, provider) from error.__cause__
        serve_new_grant(self._coordinator, provider, token)
        self._report(SignInCompleted, provider)
        return token.token

    def is_too_late(self, under_way: SignInUnderWay) -> bool:
        """Return whether :meth:`check` raises."""
        expires_at = under_way.pending.expires_at
        return self._state.is_closed or self._clock.time() >= expires_at

    def check(self, under_way: SignInUnderWay) -> None:
        """Raise if it is too late to complete a sign-in.

        :raises TokenAcquisitionError: if it has expired.
        :raises KeeperClosedError: if the keeper was closed.
        """
        if self._state.is_closed:
            raise closed_meanwhile()
        if self.is_too_late(under_way):
            name = under_way.provider.provider_name
            raise self._failed(
                TokenAcquisitionError(
                    f"provider {name!r}: the sign-in took too long and has expired. Begin a new "
                    "one.",
                    provider_name=name,
                    error="expired_token" if under_way.is_polled else None,
                    transient=False,
                ),
                under_way.provider,
            )

    def _granted(self, under_way: SignInUnderWay, callback_url: str | None) -> CachedToken:
        """Return what the one request brings, also if it has expired on its way."""
        useless: list[CachedToken] = []
        try:
            return request_token(
                Finishing(under_way, callback_url),
                None,
                sent=self._state.next_number(),
                clock=self._clock,
                jitter=self._runner.jitter,
                useless=useless.append,
            )
        except TokenAcquisitionError:
            if useless and useless[0].token.refresh_token is not None:
                return useless[0]
            raise

    def _stored(
        self, membership: Membership, provider: BaseOAuth2Provider, token: CachedToken
    ) -> CachedToken:
        return store_new_grant(membership, provider, token, clock=self._clock, wait=self._wait)

    def _wait(self, seconds: float) -> None:
        # Not on the event that ends waits: the refresh token is stored even if the keeper closes.
        self._clock.wait(threading.Event(), seconds)

    # ---- parts

    def _provider(self, provider_name: str, account: str | None) -> BaseOAuth2Provider:
        """Return the provider whose grant it is: for an account, a variant."""
        name = TokenName.of(provider_name, TokenParameters(account=account))
        self._state.check_provider(name)
        if is_chosen(name):
            found: BaseOAuth2Provider = self._state.registry.variant(
                name, TokenParameters(account=account)
            ).provider
            return found
        with self._state.lock:
            return self._state.registry.find(name)

    def _membership(self, provider: BaseOAuth2Provider) -> Membership:
        """Return where the tokens of *provider* are.

        :raises TokenAcquisitionError: if the store can't be used. Nothing was requested then.
        """
        membership = self._coordinator.memberships.of(provider)
        if membership is None:  # its tokens need no sign-in, and its provider says so
            raise InvalidConfigurationError(
                f"provider {provider.provider_name!r}: its tokens need no sign-in.",
                provider_name=provider.provider_name,
                field="grant",
            )
        name = provider.grant_name
        try:
            membership.fleet.read(name, membership.fleet.key_of(provider, name))
        except StoreUnavailableError as error:
            raise TokenAcquisitionError(
                f"provider {provider.provider_name!r}: no sign-in is completed without the store. "
                f"{error}",
                provider_name=provider.provider_name,
                transient=True,
            ) from error
        return membership

    def _kept(self, provider: BaseOAuth2Provider) -> PendingSignIns:
        return PendingSignIns(self._membership(provider).fleet, self._clock)

    def _failed(self, error: Exception, provider: BaseOAuth2Provider) -> OAuth2Error:
        """Report *error*, and return it for the caller to raise."""
        known = as_oauth2_error(error, provider.provider_name)
        code = known.error if isinstance(known, TokenAcquisitionError) else None
        self._report(SignInFailed, provider, error=code, reason=str(known))
        return known

    def _report(self, kind: type, provider: BaseOAuth2Provider, **more: str | None) -> None:
        grant = str(provider.describe().get("grant_type", ""))
        event = kind(
            provider.provider_name,
            utc(self._clock),
            token_name=provider.token_name,
            grant_type=grant,
            **more,
        )
        self._state.report(event)


def _nothing() -> None:
    """Give nothing up."""
