"""Keeps the clients that authorization servers registered (RFC 7591), as long as their tokens."""

from __future__ import annotations

import json
import os
import secrets
import socket
from contextlib import suppress
from datetime import UTC, datetime

from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.registration import ClientRegistration
from tokenkeeper.stores.base import Record
from tokenkeeper.stores.contents import StoredToken
from tokenkeeper.stores.sealed import UnreadableError
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["Registrations"]

LIFETIME_SECONDS = 10 * 365 * 86400.0
"""How long a registration is good if its secret does not expire. Stores want a number."""

_NOTHING = "none"
"""Takes the place of an access token in a record."""


class Registrations:
    """The registered clients in one store. Thread-safe.

    Each has a record like that of a token: sealed, with the secret in it, and never dropped. So
    tools that list or delete records need not know about it.

    The refresh tokens that a server granted to a client are of use to that client alone. So a
    registration is not replaced because its key is missing here, and it is sealed again once
    another key seals: it would be lost with the old key, as it never changes on its own.

    :param settings: the store.
    :param clock: the source of time.
    """

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def find(self, provider_name: str, issuer: str) -> ClientRegistration | None:
        """Return the client that *issuer* registered for the provider; ``None`` if there is none.

        :raises StoreUnavailableError: if the store can't be used, or the key is missing that the
            registration is sealed with.
        """
        key = self._key(provider_name, issuer)
        record = self._settings.store.read(key)
        found = self._opened(record, key)
        if found is not None and not self._settings.sealer.is_current(record.sealed or b""):
            with suppress(StoreUnavailableError):  # it can be read, which is what counts
                self._publish(provider_name, found, key, record.generation)
        return found

    def keep(
        self,
        provider_name: str,
        registration: ClientRegistration,
        replaces: ClientRegistration | None = None,
    ) -> ClientRegistration:
        """Store *registration* and return it, or the one that another process stored meanwhile.

        :param replaces: the one that is no longer usable; ``None``, the default, if there is none.
        :raises StoreUnavailableError: as :meth:`find` does.
        """
        key = self._key(provider_name, registration.issuer)
        while True:
            record = self._settings.store.read(key)
            other = self._opened(record, key)
            if other is not None and other != replaces:
                return other
            if self._publish(provider_name, registration, key, record.generation):
                return registration

    def _publish(
        self, provider_name: str, registration: ClientRegistration, key: str, replaces: int
    ) -> bool:
        return self._settings.store.publish(
            key,
            owner=secrets.token_hex(16),  # it has no claim
            replaces=replaces,
            generation=replaces + 1,
            sealed=self._sealed(provider_name, registration, key),
            lifetime_seconds=self._lifetime(registration),
            age_seconds=0.0,
            keep=True,
        )

    def _sealed(self, provider_name: str, registration: ClientRegistration, key: str) -> bytes:
        now = self._clock.time()
        expires_at = datetime.fromtimestamp(now + self._lifetime(registration), UTC)
        content = StoredToken(
            OAuth2Token(
                _NOTHING,
                "registration",
                expires_at,
                extra={"registration": registration.to_members()},
            ),
            token_name=f"{provider_name} (registered client)",
            requested_at=now,
            granted_to=f"{socket.gethostname()}:{os.getpid()}",
        )
        return self._settings.sealer.seal(content.to_bytes(), key, "token")

    def _opened(self, record: Record, key: str) -> ClientRegistration | None:
        """Return what was sealed; ``None`` if there is nothing, or something else.

        :raises StoreUnavailableError: if the key is missing that it is sealed with.
        """
        if record.sealed is None:
            return None
        try:
            content = self._settings.sealer.open(record.sealed, key, "token")
            extra = StoredToken.from_bytes(content).token.extra
            return ClientRegistration.from_members(extra["registration"])
        except UnreadableError as error:
            if error.kid is None:
                return None
            raise StoreUnavailableError(
                f"its record can't be read: {error}. Refresh tokens depend on it, so it is not "
                f"replaced. Restore the key, or delete it with: tokenkeeper store purge {key[:12]}",
                is_misconfigured=True,
            ) from None
        except (KeyError, ValueError, AttributeError):
            return None

    def _lifetime(self, registration: ClientRegistration) -> float:
        expires_at = registration.secret_expires_at
        left = expires_at - self._clock.time() if expires_at else LIFETIME_SECONDS
        return min(max(left, 0.0), LIFETIME_SECONDS)

    def _key(self, provider_name: str, issuer: str) -> str:
        identity = json.dumps(["registered client", provider_name, issuer])
        return self._settings.sealer.record_key(identity)
