"""What a store has of the sign-ins of a provider: whether there is a refresh token, and since when.

No refresh token leaves this module.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.names import parameters_in, provider_of
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.stores.base import Record
from tokenkeeper.stores.contents import StoredToken
from tokenkeeper.stores.naming import record_key_of
from tokenkeeper.stores.overview import record_view
from tokenkeeper.stores.runtime_directory import runtime_directory
from tokenkeeper.stores.sealed import UnreadableError
from tokenkeeper.stores.settings import StoreSettings, opened

__all__ = [
    "SIGN_INS",
    "StoredSignIn",
    "count_accounts",
    "is_volatile",
    "kept_in",
    "needs_sign_in",
    "sign_in_of",
]

SIGN_INS = {
    "authorization_code": "in a browser",
    "urn:ietf:params:oauth:grant-type:device_code": "on another device",
    "urn:openid:params:grant-type:ciba": "on the person's own device",
}
"""The grant types that a person begins by signing in, and where that is done."""

_FOR_GOOD_SECONDS = 365 * 86400.0
"""A failure that stands for longer is a refusal of the refresh token, until there is a new one."""

_MOST_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class StoredSignIn:
    """What a store has of one sign-in.

    :ivar is_there: whether there is a refresh token.
    :ivar used_seconds_ago: when it was last used, or granted; ``None`` if that is unknown.
    :ivar lost: why the server no longer accepts it; ``None`` if nothing is known against it.
    :ivar unreadable: why the record can't be read; ``""`` if it can, or does not exist.
    """

    is_there: bool
    used_seconds_ago: float | None = None
    lost: str | None = None
    unreadable: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether tokens can be had by it, as far as is known."""
        return self.is_there and self.lost is None


def needs_sign_in(provider: BaseOAuth2Provider) -> bool:
    """Return whether a person has to sign in before *provider* gets a token."""
    return provider.describe().get("grant_type") in SIGN_INS


def kept_in(provider: BaseOAuth2Provider, store: StoreSettings | None) -> StoreSettings | None:
    """Return where the refresh tokens of *provider* are kept: in its custody, or else in *store*.

    :returns: ``None`` for the memory of each process.
    :raises InvalidConfigurationError: if its custody is not valid.
    """
    custody = provider.custody
    return store if custody is None else opened(custody)


def is_volatile(settings: StoreSettings) -> bool:
    """Return whether the store is in the user's runtime directory, which is emptied at logout."""
    path = getattr(settings.store, "path", None)
    with suppress(InvalidConfigurationError):
        directory = runtime_directory()
        return directory is not None and path is not None and directory in path.parents
    return False


def sign_in_of(provider: BaseOAuth2Provider, settings: StoreSettings, now: float) -> StoredSignIn:
    """Return what the store has of the sign-in of *provider*, of its account if it is a variant.

    :param now: the time, in seconds since the epoch.
    :raises StoreUnavailableError: if it can't be read.
    """
    key = record_key_of(provider, provider.grant_name, settings.sealer)
    record = settings.store.read(key)
    try:
        token = _token(record, key, settings)
    except UnreadableError as error:
        return StoredSignIn(is_there=False, unreadable=str(error))
    view = record_view(key, record, settings.sealer, now)
    failure, lost = view.failure, None
    if failure is not None and failure.stands_seconds > _FOR_GOOD_SECONDS:
        lost = failure.message
    is_there = token is not None and token.token.refresh_token is not None
    return StoredSignIn(is_there, view.age_seconds if is_there else None, lost)


def count_accounts(provider: BaseOAuth2Provider, settings: StoreSettings) -> int:
    """Return how many accounts have signed in, among the first 1,000 records.

    :raises StoreUnavailableError: if the store can't be read.
    """
    count = 0
    for key in islice(settings.store.keys(), _MOST_RECORDS):
        with suppress(UnreadableError):
            token = _token(settings.store.read(key), key, settings)
            if token is None or token.token.refresh_token is None:
                continue
            name = token.token_name
            parameters = parameters_in(name)
            if parameters is not None and provider_of(name) == provider.provider_name:
                count += parameters.given() == ["account"]
    return count


def _token(record: Record, key: str, settings: StoreSettings) -> StoredToken | None:
    """Return the token of *record*; ``None`` if it has none.

    :raises UnreadableError: if it can't be opened.
    """
    if record.sealed is None:
        return None
    return StoredToken.from_bytes(settings.sealer.open(record.sealed, key, "token"))
