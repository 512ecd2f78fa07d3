"""Revokes a refresh token that works once, which several processes and tokens may share.

.. code-block:: text

    turn     another token of this process uses the grant?   wait for it
    claim    another process uses the grant?                 wait for it
    ask      the server revokes the newest refresh token
    settle   the record is emptied, and says why no request may follow; the claim is released

If the server does not answer, or refuses, the claim is released, and the record stays as it was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tokenkeeper._renewal.adoption import latest_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.looks import LONGEST_POLL_SECONDS, TAKEOVER_SECONDS
from tokenkeeper._renewal.runner import closed_meanwhile
from tokenkeeper._renewal.shared_failure import FOREVER_SECONDS
from tokenkeeper._renewal.slot import Slot
from tokenkeeper._renewal.view import View
from tokenkeeper._runtime import provider_loop
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    OAuth2Error,
    StoreUnavailableError,
    TokenAcquisitionError,
)
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName, parameters_in, provider_of
from tokenkeeper.oauth.claims import LookAgain, claimed
from tokenkeeper.oauth.revocation import TokenKind
from tokenkeeper.oauth.server import NoEndpointError
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import as_oauth2_error
from tokenkeeper.stores.base import Record
from tokenkeeper.stores.contents import StoredFailure

if TYPE_CHECKING:
    from tokenkeeper._renewal.joining import Membership

__all__ = ["GrantRevocation", "revoked_at_server"]

_log = logging.getLogger("tokenkeeper.stores")


class GrantRevocation:
    """Revokes one grant. Blocks; used once.

    :param membership: where the grant is kept.
    :param provider: the client, for a token of the grant.
    :param base: the client as it is registered.
    :param mine: the token that this process has of the record of the grant.
    :param closing: set when the keeper closes.
    :ivar had_token: whether there was a refresh token.
    :ivar stored: the access token that was in the record of the grant, if there was one.
    """

    def __init__(
        self,
        membership: Membership,
        provider: BaseOAuth2Provider,
        base: BaseOAuth2Provider,
        mine: CachedToken | None,
        *,
        clock: Clock,
        closing: threading.Event,
    ) -> None:
        self._fleet = membership.fleet
        self._grants = membership.grants
        self._provider = provider
        self._base = base
        self._mine = mine
        self._clock = clock
        self._closing = closing
        self._name = provider.grant_name
        self._key = self._fleet.key_of(provider, self._name)
        self._takeover_seconds = provider.longest_request_seconds + TAKEOVER_SECONDS
        self.had_token: bool = False
        self.stored: OAuth2Token | None = None

    def revoke(self, *, forgets_anyway: bool) -> bool:
        """Revoke the refresh token; return whether the server was asked.

        Waits while the grant is in use, at most for two of the longest requests.

        :param forgets_anyway: whether to forget it also if the server has no endpoint for that.
        :raises TokenAcquisitionError: if it was not revoked.
        """
        ends_at = self._clock.monotonic() + 2 * self._takeover_seconds
        while True:
            try:
                with self._grants.turn(self._key, self._provider):
                    return self._revoke(forgets_anyway=forgets_anyway)
            except LookAgain as again:
                wait = again.after_seconds
            except StoreUnavailableError as error:
                raise self._failure(str(error), transient=True) from error
            if self._clock.monotonic() >= ends_at:
                problem = "Other processes kept using the refresh token. Call again."
                raise self._failure(problem, transient=True)
            if self._clock.wait(self._closing, wait):
                raise closed_meanwhile()

    def _revoke(self, *, forgets_anyway: bool) -> bool:
        name, key, fleet = self._name, self._key, self._fleet
        generation = fleet.read(name, key).generation
        claimed_at = self._clock.monotonic()
        claim, view = fleet.claim(
            name,
            key,
            generation=generation,
            older_than_seconds=self._takeover_seconds,
            intent=f"{fleet.place} is about to revoke the refresh token",
        )
        if not claim.granted:
            raise LookAgain(LONGEST_POLL_SECONDS)
        try:
            with claimed(partial(self._is_young, claimed_at)):
                was_asked, ends = self._asked(view, forgets_anyway=forgets_anyway)
        except BaseException:
            fleet.fail(name, key, claim.record, None)
            raise
        self._settle(claim.record, ends=ends)
        return was_asked

    def _is_young(self, claimed_at: float) -> bool:
        """Return whether no other process can have taken over the claim and spent the token."""
        return self._clock.monotonic() - claimed_at < self._provider.longest_request_seconds

    def _asked(self, view: View, *, forgets_anyway: bool) -> tuple[bool, bool]:
        """Ask the server; return whether that was done, and whether the grant has ended."""
        if view.unreadable is not None:
            problem = (
                f"Its record in the store can't be read: {view.unreadable}. Restore the key, or "
                "delete the record with 'tokenkeeper store purge'."
            )
            raise self._failure(problem, transient=False)
        slot = self._grants.slot(Slot(self._name, self._key, self._mine))
        cached = latest_token(self._fleet, self._provider, slot, view)
        token = None if cached is None or not cached.token.refresh_token else cached.token
        self.had_token = token is not None
        if view.stored is not None and view.lifetime_seconds > 0:
            self.stored = view.stored.token
        if token is None and view.failure is not None and view.failure.error == "invalid_grant":
            return False, False  # it was revoked or refused before, and the record says so
        try:
            was_asked = revoked_at_server(self._provider, token, "refresh_token")
        except NoEndpointError:
            if not forgets_anyway:
                raise
            return False, True
        return was_asked, was_asked

    def _settle(self, record: Record, *, ends: bool) -> None:
        """Release the claim; if the grant *ends*, have no process use its refresh token again."""
        name, key, fleet = self._name, self._key, self._fleet
        if not ends:
            fleet.fail(name, key, record, None)
            return
        self._grants.drop(key)
        fleet.note_cleared(name)  # no token that is still to be stored goes there
        try:
            fleet.guard.call(name, lambda: fleet.settings.store.forget(key))
        except StoreUnavailableError as error:
            _log.warning(
                "provider %r: the refresh token was revoked, and is still in the store: %s",
                self._provider.provider_name,
                error,
            )
        fleet.fail(name, key, record, self._end())

    def _end(self) -> StoredFailure:
        """Return the failure that ends all requests until there is a new sign-in.

        Without it, they would use the refresh token that they have in memory, or the first one of
        the configuration.
        """
        error = TokenAcquisitionError(
            f"provider {self._provider.provider_name!r}: the refresh token was revoked by "
            f"{self._fleet.place}, so a new sign-in is needed.",
            error="invalid_grant",
            transient=False,
        )
        return StoredFailure.of(
            error,
            token_name=self._name,
            stands_seconds=FOREVER_SECONDS,
            failures=1,
            reported_by=self._fleet.place,
        )

    # ---- access tokens of the grant in the store

    def forget_others(self) -> dict[str, OAuth2Token]:
        """Remove the access tokens of the grant from the store; return them by name.

        Raises nothing. They expire soon, in any case.
        """
        found: dict[str, OAuth2Token] = {}
        with suppress(StoreUnavailableError):
            for key, name, token in self._stored():
                self._fleet.forget(name, key)
                found[name] = token
        return found

    def _stored(self) -> Iterator[tuple[str, str, OAuth2Token]]:
        """Yield key, name and token of each record of the grant beside its own."""
        for key in list(self._fleet.settings.store.keys()):
            stored = None if key == self._key else self._fleet.read(self._name, key).stored
            if stored is not None and self._is_of_grant(key, stored.token_name):
                yield key, stored.token_name, stored.token

    def _is_of_grant(self, key: str, name: str) -> bool:
        parameters = parameters_in(name)
        if parameters is None or provider_of(name) != self._provider.provider_name:
            return False
        try:
            variant = self._base.variant(TokenName(name), parameters)
        except InvalidConfigurationError:  # such as a resource that is allowed no longer
            return False
        is_same = variant.grant_name == self._name
        return is_same and self._fleet.key_of(variant, name) == key

    def _failure(self, problem: str, *, transient: bool) -> TokenAcquisitionError:
        name = self._provider.provider_name
        return TokenAcquisitionError(
            f"provider {name!r}: nothing was revoked. {problem}",
            provider_name=name,
            transient=transient,
        )


def revoked_at_server(
    provider: BaseOAuth2Provider, token: OAuth2Token | None, kind: TokenKind
) -> bool:
    """Have *provider* revoke *token*; return whether there was something to revoke.

    :raises TokenAcquisitionError: if it was not revoked.
    """
    try:
        return bool(provider_loop.call(provider.revoke_token, token, kind))
    except (OAuth2Error, LookAgain):
        raise
    except Exception as error:
        raise as_oauth2_error(error, provider.provider_name) from error
