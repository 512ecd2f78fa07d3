"""The providers of a keeper, by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import cast

from tokenkeeper._renewal.need import Variant
from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.arguments import check_instance, check_name
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    KeeperClosedError,
    UnknownProviderError,
)
from tokenkeeper.names import TokenName, TokenParameters, is_chosen, parameters_in, provider_of
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy

__all__ = ["Registry", "check_taken", "checked_provider", "name_is_taken", "unknown_provider"]

MOST_LISTED = 20
"""How many names an error message lists. Ten thousand would bury the rest."""

MOST_COMPARED = 1000
"""How many names are searched for the nearest one."""

_LIKE_A_TOKEN = re.compile(r"eyJ|.{65}|[\w+/=.~-]{32}", re.DOTALL)
"""Matches text that may be a token passed as a name: no message may show it."""


class Registry:
    """The registered providers, until it is closed. Not thread-safe: its owner's lock guards it."""

    def __init__(self) -> None:
        self._providers: dict[str, BaseOAuth2Provider] = {}
        self._variants: dict[str, Variant] = {}
        self.closed: bool = False

    def __len__(self) -> int:
        return len(self._providers)

    def check_open(self) -> None:
        """Raise :class:`KeeperClosedError` once it is closed."""
        if self.closed:
            raise KeeperClosedError("the keeper is closed. Create a new one.")

    def check_free(self, provider: BaseOAuth2Provider) -> None:
        """Raise unless *provider* can be registered.

        :raises InvalidConfigurationError: if its name is taken.
        """
        self.check_open()
        name = provider.provider_name
        if self._providers.get(name) is provider:
            raise InvalidConfigurationError(
                f"this provider is already registered as {name!r}. Add each provider once.",
                provider_name=name,
                field="provider_name",
            )
        if name in self._providers:
            raise name_is_taken(name)

    def add(self, provider: BaseOAuth2Provider) -> None:
        """Register *provider*.

        :raises InvalidConfigurationError: if its name is taken.
        """
        self.check_free(provider)
        self._providers[provider.provider_name] = provider

    def find(self, name: str) -> BaseOAuth2Provider:
        """Return the registered provider *name*, or the one of the token *name*.

        :raises UnknownProviderError: if there is none.
        """
        self.check_open()
        check_name(name)
        try:
            return self._providers[provider_of(name)]
        except KeyError:
            raise unknown_provider(provider_of(name), self._providers) from None

    # ---- variants: providers of tokens whose parameters a caller chose

    def variant(self, name: str, parameters: TokenParameters | None = None) -> Variant:
        """Return the provider of the token *name*, which is not kept. Called without the lock.

        :param parameters: what the name stands for; by default what it states.
        :raises UnknownProviderError: if there is no provider, or the name alone is not enough.
        :raises InvalidConfigurationError: if the provider does not take one of the parameters.
        """
        base = self.find(name)
        kept = self._variants.get(name)
        if kept is not None and kept.base is base:
            return kept
        if parameters is None:
            parameters = parameters_in(name)
        if parameters is None:
            raise UnknownProviderError(
                f"provider {base.provider_name!r}: this is not the name of a token, or it stands "
                "for a secret that it does not contain. Use the source() that it comes from.",
                provider_name=base.provider_name,
            )
        check_taken(base, parameters)
        return Variant(base, base.variant(TokenName(name), parameters))

    def keep(self, name: str, variant: Variant) -> BaseOAuth2Provider:
        """Use *variant* for the token *name* from now on, and return its provider.

        :raises UnknownProviderError: if its provider was replaced since it was made.
        """
        if self.find(name) is not variant.base:
            raise UnknownProviderError(
                f"provider {variant.base.provider_name!r} was replaced while its token was "
                "requested. Request it again.",
                provider_name=variant.base.provider_name,
            )
        kept = self._variants.get(name)
        if kept is None or kept.base is not variant.base:
            kept = self._variants[name] = variant
        return kept.provider

    def provider_of(self, name: str) -> BaseOAuth2Provider:
        """Return the provider that requests the token *name*, which is cached."""
        return self._variants[name].provider if is_chosen(name) else self.find(name)

    def providers_of(self, names: Iterable[str]) -> dict[str, BaseOAuth2Provider]:
        """Return the providers of those tokens that were requested, or can be without a choice."""
        known = dict(self._providers)
        known |= {name: kept.provider for name, kept in self._variants.items()}
        return {name: known[name] for name in names if name in known}

    def forget_variant(self, name: str) -> None:
        """Forget the variant of the token *name*, if there is one."""
        self._variants.pop(name, None)

    def check_order(self, name: str, refused_token: str) -> None:
        """Raise if the arguments of ``renew_refused`` are swapped or malformed.

        :raises InvalidConfigurationError: shows neither of them.
        """
        check_name(name)
        if name not in self._providers and refused_token in self._providers:
            raise InvalidConfigurationError(
                "the arguments are swapped. Call renew_refused(provider_name, refused_token).",
                field="refused_token",
            )
        if not refused_token or refused_token.lower().startswith("bearer "):
            raise InvalidConfigurationError(
                "refused_token must be the token alone, without 'Bearer '.", field="refused_token"
            )

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

    def variants(self) -> list[BaseOAuth2Provider]:
        """Return the variants that are kept."""
        return [each.provider for each in self._variants.values()]

    def close(self) -> list[BaseOAuth2Provider]:
        """Accept no more providers; return those to close."""
        self.closed = True
        providers = list(self._providers.values())
        self._providers.clear()
        self._variants.clear()
        return providers


def check_taken(provider: BaseOAuth2Provider, parameters: TokenParameters) -> None:
    """Raise unless *provider* takes all of *parameters*.

    :raises InvalidConfigurationError: names those that it does not take.
    """
    excess = [each for each in parameters.given() if each not in provider.takes]
    if excess:
        takes = ", ".join(sorted(provider.takes)) or "no parameter"
        raise InvalidConfigurationError(
            f"provider {provider.provider_name!r} does not take {', '.join(excess)}. It takes "
            f"{takes}.",
            provider_name=provider.provider_name,
            field=excess[0],
        )


def name_is_taken(name: str) -> InvalidConfigurationError:
    """Return the error for a second provider of one name."""
    return InvalidConfigurationError(
        f"duplicate provider name {name!r}. Choose another, or call remove_provider() first.",
        provider_name=name,
        field="provider_name",
    )


def unknown_provider(name: str, known: Collection[str]) -> UnknownProviderError:
    """Return the error for a *name* that is not among the *known* ones.

    The nearest known name is suggested. A name that may be a token is not shown.
    """
    if _LIKE_A_TOKEN.search(name):
        return UnknownProviderError(
            "no provider is registered under that name, which is not shown because it may be a "
            "token. Pass the provider's name."
        )
    names = list(known)
    with forks_wait():
        import difflib  # for this message only
    nearest = difflib.get_close_matches(name, names[:MOST_COMPARED])
    if nearest:
        advice = f"Did you mean {nearest[0]!r}?"
    elif names:
        listed = ", ".join(sorted(names)[:MOST_LISTED])
        more = f", and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
        advice = f"Registered: {listed}{more}."
    else:
        advice = "No provider is registered yet. Call add_provider() first."
    return UnknownProviderError(
        f"no provider is registered as {name!r}. {advice}", provider_name=name
    )


def checked_provider(provider: object) -> BaseOAuth2Provider:
    """Return *provider* if it can be registered.

    :raises InvalidConfigurationError: if it is not a provider, or its base was not initialized.
    """
    hint = "derive from it, and pass an instance"
    check_instance(provider, BaseOAuth2Provider, "provider", hint)
    provider = cast("BaseOAuth2Provider", provider)
    if not isinstance(getattr(provider, "provider_name", None), str):
        raise InvalidConfigurationError(
            f"{type(provider).__name__} has no provider_name. Its __init__ must call "
            "super().__init__(provider_name).",
            field="provider_name",
        )
    if provider.retry is not None:
        check_instance(provider.retry, RetryPolicy, "retry")
    return provider
