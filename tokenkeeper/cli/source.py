"""Where the commands find their providers, and where they keep tokens between two runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tokenkeeper.cli.kept import KeptProvider, Shelf
from tokenkeeper.config.environment import (
    AZURE,
    CONFIG_VARIABLE,
    OAUTH2,
    provider_from_environment,
    providers_from_environment,
)
from tokenkeeper.config.loading import load_configuration
from tokenkeeper.exceptions import InvalidConfigurationError, UnknownProviderError
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Registered", "Source"]

CACHE_VARIABLE = "TOKENKEEPER_CACHE_DIR"

_CLIENT_VARIABLES = (*OAUTH2, "OAUTH2_SCOPE", *AZURE, "AZURE_AUTHORITY_HOST")


@dataclass(frozen=True)
class Registered:
    """A provider, and all that its token requests depend on.

    :ivar identity: equal for equal requests to one server, with the secret in it; never shown.
    """

    provider: BaseOAuth2Provider
    kind: str
    identity: str = field(repr=False)

    @property
    def provider_name(self) -> str:
        """The name that callers ask for."""
        return self.provider.provider_name


@dataclass(frozen=True)
class Source:
    """What the options of the command line, or else the environment, say.

    :ivar config: the file that describes the providers.
    :ivar cache: the directory where tokens are kept between two runs.
    """

    config: Path | None = None
    cache: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file that counts; ``None`` if the variables of a client do."""
        named = os.environ.get(CONFIG_VARIABLE)
        return self.config or (Path(named) if named else None)

    def registrations(self) -> list[Registered]:
        """Return what is described.

        :raises InvalidConfigurationError: naming all that is wrong.
        """
        if self.path is None:
            return [_from_environment(each) for each in providers_from_environment(os.environ)]
        return [
            Registered(
                provider,
                provider.registration.block.provider_type,
                provider.registration.block.model_dump_json() + provider.registration.secret,
            )
            for provider in load_configuration(self.path).providers
        ]

    def registration(self, name: str) -> Registered:
        """Return the one called *name*, which is the user's to choose for an environment's.

        :raises UnknownProviderError: if the file describes none of that name.
        :raises InvalidConfigurationError: naming all that is wrong.
        """
        if self.path is None:
            return _from_environment(provider_from_environment(name, os.environ))
        registered = {each.provider_name: each for each in self.registrations()}
        if name not in registered:
            raise UnknownProviderError(
                f"{self.path.name} describes no provider {name!r}: it has {', '.join(registered)}",
                provider_name=name,
            )
        return registered[name]

    def chosen(self, names: Iterable[str]) -> list[Registered]:
        """Return those called *names*, or all if there are none."""
        return [self.registration(name) for name in names] or self.registrations()

    def shelf(self) -> Shelf | None:
        """Return where tokens are kept; ``None`` if nothing is kept.

        :raises InvalidConfigurationError: for a directory that others may look into.
        """
        told = self.cache or os.environ.get(CACHE_VARIABLE)
        if told:
            return Shelf(Path(told))
        # Per user, in memory and gone at log-out; nothing goes to a disk without being told to.
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        return Shelf(Path(runtime) / "tokenkeeper") if runtime and Path(runtime).is_dir() else None

    def kept(self, registered: Registered, *, force: bool = False) -> KeptProvider:
        """Return a provider whose token outlives this run, as far as anything does."""
        return KeptProvider(registered.provider, self.shelf(), registered.identity, force=force)


def _from_environment(provider: BaseOAuth2Provider) -> Registered:
    kind = "azure" if type(provider).__name__.startswith("Azure") else "generic"
    variables = {name: os.environ.get(name) for name in _CLIENT_VARIABLES}
    if not provider.provider_name.strip():
        raise InvalidConfigurationError("provider_name must not be blank", field="provider_name")
    return Registered(provider, kind, json.dumps([kind, variables]))
