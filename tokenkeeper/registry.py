"""The providers of a keeper, by name."""

from __future__ import annotations

from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    KeeperClosedError,
    UnknownProviderError,
)
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Registry", "name_is_taken"]


class Registry:
    """Who is registered, until it is closed. Not thread-safe: its owner's lock guards it."""

    def __init__(self) -> None:
        self._providers: dict[str, BaseOAuth2Provider] = {}
        self.closed = False

    def __len__(self) -> int:
        return len(self._providers)

    def check_open(self) -> None:
        """Raise :class:`KeeperClosedError` once it is closed."""
        if self.closed:
            raise KeeperClosedError("the keeper is closed: make a new one")

    def add(self, provider: BaseOAuth2Provider) -> None:
        """Register *provider*.

        :raises InvalidConfigurationError: if its name is taken.
        """
        self.check_open()
        if self._providers.setdefault(provider.provider_name, provider) is not provider:
            raise name_is_taken(provider.provider_name)

    def find(self, name: str) -> BaseOAuth2Provider:
        """Return the provider *name*.

        :raises UnknownProviderError: if there is none.
        """
        self.check_open()
        try:
            return self._providers[name]
        except KeyError:
            known = ", ".join(sorted(self._providers)) or "none"
            raise UnknownProviderError(
                f"no provider is registered as {name!r}: add_provider() it first "
                f"(registered: {known})",
                provider_name=name,
            ) from None

    def remove(self, name: str) -> BaseOAuth2Provider:
        """Forget the provider *name*, and return it."""
        provider = self.find(name)
        del self._providers[name]
        return provider

    def names(self) -> list[str]:
        """Return the registered names, in the order of their registration."""
        self.check_open()
        return list(self._providers)

    def providers(self) -> list[BaseOAuth2Provider]:
        """Return the registered providers, in the order of their registration."""
        self.check_open()
        return list(self._providers.values())

    def close(self) -> list[BaseOAuth2Provider]:
        """Take no more, and return those to be closed."""
        self.closed = True
        providers = list(self._providers.values())
        self._providers.clear()
        return providers


def name_is_taken(name: str) -> InvalidConfigurationError:
    """Return the error for a second provider of one name."""
    return InvalidConfigurationError(
        f"provider name {name!r} is taken: remove_provider() it first, or choose another",
        provider_name=name,
        field="provider_name",
    )
