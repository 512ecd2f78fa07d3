"""Keeps the clients that authorization servers registered (RFC 7591), as long as their tokens."""

from __future__ import annotations

import json
import os
import secrets
import socket
from datetime import UTC, datetime

from tokenkeeper.clock import Clock
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.registration import ClientRegistration
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
    tools that list, seal again or delete records need not know about it.

    :param settings: the store.
    :param clock: the source of time.
    """

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def find(self, provider_name: str, issuer: str) -> ClientRegistration | None:
        """Return the client that *issuer* registered for the provider; ``None`` if there is none.

        :raises StoreUnavailableError: if the store can't be used.
        """
        key = self._key(provider_name, issuer)
        sealed = self._settings.store.read(key).sealed
        return None if sealed is None else self._opened(sealed, key)

    def keep(
        self,
        provider_name: str,
        registration: ClientRegistration,
        replaces: ClientRegistration | None = None,
    ) -> ClientRegistration:
        """Store *registration* and return it, or the one that another process stored meanwhile.

        :param replaces: the one that is no longer usable; ``None``, the default, if there is none.
        :raises StoreUnavailableError: if the store can't be used.
        """
        key = self._key(provider_name, registration.issuer)
        store = self._settings.store
        while True:
            record = store.read(key)
            other = None if record.sealed is None else self._opened(record.sealed, key)
            if other is not None and other != replaces:
                return other
            if store.publish(
                key,
                owner=secrets.token_hex(16),  # it has no claim
                replaces=record.generation,
                generation=record.generation + 1,
                sealed=self._sealed(provider_name, registration, key),
                lifetime_seconds=self._lifetime(registration),
                age_seconds=0.0,
                keep=True,
            ):
                return registration

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

    def _opened(self, sealed: bytes, key: str) -> ClientRegistration | None:
        """Return what was sealed; ``None`` if it can't be read, such as after a lost key."""
        try:
            content = self._settings.sealer.open(sealed, key, "token")
            extra = StoredToken.from_bytes(content).token.extra
            return ClientRegistration.from_members(extra["registration"])
        except (UnreadableError, KeyError, ValueError, AttributeError):
            return None

    def _lifetime(self, registration: ClientRegistration) -> float:
        expires_at = registration.secret_expires_at
        left = expires_at - self._clock.time() if expires_at else LIFETIME_SECONDS
        return min(max(left, 0.0), LIFETIME_SECONDS)

    def _key(self, provider_name: str, issuer: str) -> str:
        identity = json.dumps(["registered client", provider_name, issuer])
        return self._settings.sealer.record_key(identity)
