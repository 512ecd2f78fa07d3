"""Blocks for classes of somebody's own: keys beyond ours are arguments of the constructor."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from tokenkeeper.config.blocks import Azure, Block, Generic
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.providers.kinds import parameters_of, provider_class

__all__ = ["OWN_BLOCKS", "Own", "block_for", "misfits"]


class Own(Block):
    """A block for any class."""

    model_config = ConfigDict(extra="allow")

    def make_provider(self, secret: str | None, directory: Path) -> BaseOAuth2Provider:
        """Return the provider, made with all keys that are not ours."""
        arguments = {"provider_name": self.provider_name}
        if secret is not None:
            arguments["client_secret"] = secret
        return self._made(arguments | self._options(directory))


class OwnGeneric(Generic):
    """A block for a class that was derived from ``GenericOAuth2Provider``."""

    model_config = ConfigDict(extra="allow")


class OwnAzure(Azure):
    """A block for a class that was derived from ``AzureADProvider``."""

    model_config = ConfigDict(extra="allow")


OWN_BLOCKS = (Own, OwnGeneric, OwnAzure)

_BASES: dict[type[Block], type] = {
    Own: BaseOAuth2Provider,
    OwnGeneric: GenericOAuth2Provider,
    OwnAzure: AzureADProvider,
}


def block_for(kind: type[BaseOAuth2Provider]) -> type[Block]:
    """Return how a block for a provider of the class *kind* is read."""
    names = parameters_of(kind).names
    if issubclass(kind, GenericOAuth2Provider) and "config" in names:
        return OwnGeneric
    if issubclass(kind, AzureADProvider) and "tenant_id" in names:
        return OwnAzure
    return Own


def misfits(model: type[Block], content: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key of *content* that its class does not take, or needs, and what is wrong."""
    path = content["provider_type"]
    takes = parameters_of(provider_class(path))
    optional = {"client_secret", "verify"} if model is Own else set()  # if its class takes them
    fields = model.model_fields.keys() - optional
    settled = {*fields, *parameters_of(_BASES[model]).names}
    own = [name for name in takes.names if name not in settled]
    given = [str(key) for key in content if key not in fields]
    for key in given:
        if key not in own and not takes.takes_any:
            nearest = difflib.get_close_matches(key, [*own, *fields], n=1, cutoff=0.5)
            advice = f". Did you mean {nearest[0]!r}?" if nearest else ""
            yield key, f"is not a parameter of {path}{advice}"
    for key in takes.required:
        by_file = key == "client_secret" and content.get("client_secret_file") is not None
        if key in own and key not in given and not by_file:
            yield key, "is missing"
