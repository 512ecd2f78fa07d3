"""Blocks for custom classes: keys other than ours are arguments of the constructor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ConfigDict

from tokenkeeper.config.blocks import Azure, Block, Client, Generic
from tokenkeeper.config.keys import keys_of, unknown_key
from tokenkeeper.config.problems import KeyPath, Problems
from tokenkeeper.config.proof import Given
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.providers.kinds import parameters_of, provider_class

__all__ = ["OWN_BLOCKS", "Own", "block_for", "check_arguments", "keys_taken"]


class Own(Block):
    """A block for any custom class."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    def make_provider(self, given: Given) -> BaseOAuth2Provider:
        """Return the provider, made with all keys that are not ours as arguments."""
        arguments = {"provider_name": self.provider_name}
        if (secret := given.secrets.get("client_secret")) is not None:
            arguments["client_secret"] = secret
        return self._made(arguments | self._options(given.directory))


class _OfDerivedClass(Client):
    """A block whose class may have arguments with the names of our keys, and mean others."""

    def content(self) -> dict[str, Any]:
        """Return the keys of ours that are set, with their values."""
        taken = keys_taken(type(self), self.provider_type)
        return {key: value for key, value in super().content().items() if key not in taken}

    def _made(self, arguments: dict[str, Any]) -> BaseOAuth2Provider:
        taken = keys_taken(type(self), self.provider_type)
        given = {key: value for key in taken if (value := getattr(self, key)) is not None}
        return super()._made(arguments | given)


class OwnGeneric(_OfDerivedClass, Generic):
    """A block for a class derived from ``GenericOAuth2Provider``."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")


class OwnAzure(_OfDerivedClass, Azure):
    """A block for a class derived from ``AzureADProvider``."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")


OWN_BLOCKS = (Own, OwnGeneric, OwnAzure)

_FIRST_KEYS = ("token_url", "additional_params")
"""Keys of the first release that are not parameters of our classes. They are always ours."""

_BASES: dict[type[Block], type] = {
    Own: BaseOAuth2Provider,
    OwnGeneric: GenericOAuth2Provider,
    OwnAzure: AzureADProvider,
}


def block_for(kind: type[BaseOAuth2Provider]) -> type[Block]:
    """Return the model of blocks whose provider is of the class *kind*."""
    names = parameters_of(kind).names
    if issubclass(kind, GenericOAuth2Provider) and "config" in names:
        return OwnGeneric
    if issubclass(kind, AzureADProvider) and "tenant_id" in names:
        return OwnAzure
    return Own


def keys_taken(model: type[Block] | None, kind: str) -> frozenset[str]:
    """Return the keys of *model* that are arguments of the class *kind*, in its own sense.

    A class that has such an argument may be older than the key.
    """
    if model not in (OwnGeneric, OwnAzure):
        return frozenset()
    base = parameters_of(_BASES[model]).names
    later = model.model_fields.keys() - Client.model_fields.keys() - {*base, *_FIRST_KEYS}
    return frozenset(later & {*parameters_of(provider_class(kind)).own})


def check_arguments(
    model: type[Block], content: Mapping[Any, Any], problems: Problems, path: KeyPath
) -> bool:
    """Return whether the class of *content* takes its keys, and note those that do not fit."""
    kind = content["provider_type"]
    takes = parameters_of(provider_class(kind))
    optional = {"client_secret", "verify"} if model is Own else set()  # if its class takes them
    optional |= keys_taken(model, kind)
    keys = [key for key in keys_of(model) if key not in optional]
    settled = {*keys, *parameters_of(_BASES[model]).names}
    arguments = [name for name in takes.names if name not in settled]
    given = [str(key) for key in content if key not in keys]
    unknown = [key for key in given if key not in arguments and not takes.takes_any]
    for key in unknown:
        owner = f"provider_type {kind!r}"
        problems.add_key((*path, key), unknown_key(key, owner, [*arguments, *keys]))
    given += ["client_secret"] if content.get("client_secret_file") is not None else []
    missing = [key for key in takes.required if key in arguments and key not in given]
    for key in missing:
        problems.add((*path, key), "is missing")
    return not unknown and not missing
