"""Sign-ins that another process may complete, in the store.

Each has a record of its own, named by an HMAC of its ``state`` and its client, and sealed like a
token, so that tools for stores can list and re-seal it. The store does not reveal
the ``state``, and only the client that began a sign-in finds it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper.clock import Clock, instant
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.grants.sign_in import PendingSignIn
from tokenkeeper.schedule import deadlines

__all__ = ["PendingSignIns"]

_MEMBER = "sign_in"
"""The member of ``extra`` that holds the sign-in."""

_NOTHING = "none"
"""Takes the place of an access token."""


class PendingSignIns:
    """Keeps sign-ins for whichever process completes them. Thread-safe.

    :param fleet: the store.
    """

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock

    def put(self, provider: BaseOAuth2Provider, pending: PendingSignIn) -> None:
        """Keep *pending* until it expires.

        :raises TokenAcquisitionError: if the store can't be used.
        """
        now = instant(self._clock)
        token = OAuth2Token(
            _NOTHING,
            "Bearer",
            datetime.fromtimestamp(pending.expires_at, UTC),
            extra={_MEMBER: pending.to_bytes().decode()},
        )
        times = deadlines(now.monotonic, pending.expires_at - now.wall, 0.0, 0.0)
        cached = CachedToken.of(
            token, times, 0, None, now.offset, requested_at=now.monotonic, generation=1
        )
        name, key = pending.token_name, self._key(provider, pending.state)
        try:
            self._fleet.publish(name, key, cached, replaces=0, keep=False)
        except StoreUnavailableError as error:
            raise _unavailable(provider, error) from error

    def find(self, provider: BaseOAuth2Provider, state: str) -> PendingSignIn | None:
        """Return the sign-in with that ``state``; ``None`` if there is none any longer.

        :raises TokenAcquisitionError: if the store can't be used.
        """
        name = provider.provider_name
        try:
            view = self._fleet.read(name, self._key(provider, state))
        except StoreUnavailableError as error:
            raise _unavailable(provider, error) from error
        content = None if view.stored is None else view.stored.token.extra.get(_MEMBER)
        if not isinstance(content, str) or view.age_seconds >= view.lifetime_seconds:
            return None
        return replace(PendingSignIn.from_bytes(content.encode()), state=state)

    def take(self, provider: BaseOAuth2Provider, state: str) -> bool:
        """Forget a sign-in; return whether it was there. Only one caller gets ``True``.

        :raises TokenAcquisitionError: if the store can't be used.
        """
        key, store = self._key(provider, state), self._fleet.settings.store
        try:
            return self._fleet.guard.call(
                provider.provider_name, lambda: store.forget(key, entirely=True)
            )
        except StoreUnavailableError as error:
            raise _unavailable(provider, error) from error

    def _key(self, provider: BaseOAuth2Provider, state: str) -> str:
        return self._fleet.key_of(provider, f"{provider.provider_name}\nsign-in {state}")


def _unavailable(
    provider: BaseOAuth2Provider, error: StoreUnavailableError
) -> TokenAcquisitionError:
    name = provider.provider_name
    return TokenAcquisitionError(
        f"provider {name!r}: there is no sign-in without the store, which keeps what it brings. "
        f"{error}",
        provider_name=name,
        transient=True,
    )
