"""The records of a store, as the commands need them: by provider, with names, without secrets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.asking import variant_of
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError, StoreUnavailableError
from tokenkeeper.names import TokenName, TokenParameters, parameters_in, provider_of, stated_in
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.stores.base import NO_RECORD, Record
from tokenkeeper.stores.contents import StoredFailure, StoredToken
from tokenkeeper.stores.naming import record_key_of
from tokenkeeper.stores.overview import BUFFER_SECONDS, record_view
from tokenkeeper.stores.sealed import UnreadableError
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.stores.views import RecordView

__all__ = ["StoredRecord", "key_of", "record_of", "records", "records_of"]


@dataclass(frozen=True)
class StoredRecord:
    """A record of a store at one moment, and what it says inside.

    :ivar record: ``None`` if the store can't read it.
    :ivar reason: why it can't.
    """

    settings: StoreSettings
    key: str
    record: Record | None
    reason: str = ""

    @cached_property
    def _token(self) -> StoredToken | None:
        if self.record is None or self.record.sealed is None:
            return None
        with suppress(UnreadableError):
            content = self.settings.sealer.open(self.record.sealed, self.key, "token")
            return StoredToken.from_bytes(content)
        return None

    @cached_property
    def token_name(self) -> str | None:
        """The name of its token; ``None`` if nothing readable names it."""
        if self._token is not None:
            return self._token.token_name
        if self.record is None or self.record.failure is None:
            return None
        with suppress(UnreadableError):
            sealed = self.record.failure.sealed
            content = self.settings.sealer.open(sealed, self.key, "failure")
            return StoredFailure.from_bytes(content).token_name
        return None

    @property
    def is_irreplaceable(self) -> bool:
        """Whether deleting it may lose a refresh token, which can't be requested again."""
        if self.record is None or self.record.sealed is None:
            return self.record is None
        return self._token is None or self._token.token.refresh_token is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """What was asked for beyond the provider's registration, without personal data."""
        shown: dict[str, Any] = dict(self.view().parameters)
        stated = json.loads(stated_in(self.token_name or "") or "{}")
        return {
            name: stated[name] if isinstance(stated.get(name), list) and "…" not in value else value
            for name, value in shown.items()
        }

    def view(self, buffer_seconds: float = BUFFER_SECONDS) -> RecordView:
        """Return what people may see of it."""
        if self.record is None:
            return RecordView(key=self.key, state="unreadable", unreadable=escaped(self.reason))
        return record_view(
            self.key,
            self.record,
            self.settings.sealer,
            SYSTEM_CLOCK.time(),
            buffer_seconds=buffer_seconds,
        )


def record_of(settings: StoreSettings, key: str) -> StoredRecord:
    """Return the record of *key*.

    :raises StoreUnavailableError: if the store can't be used.
    """
    try:
        return StoredRecord(settings, key, settings.store.read(key))
    except StoreUnavailableError as error:
        if not error.is_misconfigured:
            raise
        return StoredRecord(settings, key, None, str(error))


def records(settings: StoreSettings, limit: int | None = None) -> Iterator[StoredRecord]:
    """Yield the records of the store.

    :param limit: at most so many; all by default.
    :raises StoreUnavailableError: if the store can't be used.
    """
    for key in islice(settings.store.keys(), limit):
        found = record_of(settings, key)
        if found.record != NO_RECORD:  # unless it was removed meanwhile
            yield found


def records_of(
    provider: BaseOAuth2Provider, found: Iterable[StoredRecord]
) -> Iterator[StoredRecord]:
    """Yield those of *found* that have a token of *provider*, its own or one with parameters.

    Records of another client that has the same name are left out.
    """
    for each in found:
        name = each.token_name
        if name is None or provider_of(name) != provider.provider_name:
            continue
        parameters = parameters_in(name)
        # A name has only digests of a subject and an actor, with which no variant can be made.
        if parameters is None or each.key == _key_of(each.settings, provider, parameters):
            yield each


def key_of(
    settings: StoreSettings, provider: BaseOAuth2Provider, parameters: TokenParameters
) -> str:
    """Return the key of the record of a token of *provider*.

    :raises InvalidConfigurationError: if the provider does not take one of the parameters.
    """
    name = TokenName.of(provider.provider_name, parameters)
    return record_key_of(variant_of(provider, parameters), name, settings.sealer)


def _key_of(
    settings: StoreSettings, provider: BaseOAuth2Provider, parameters: TokenParameters
) -> str:
    with suppress(InvalidConfigurationError):  # such as a tenant that is allowed no longer
        return key_of(settings, provider, parameters)
    return ""
