"""What is known about a provider before it is made: its specification, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tokenkeeper.config.credentials import CredentialFile
from tokenkeeper.config.problems import Problem
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Discovered", "ProviderSpec"]


class ProviderSpec(Protocol):
    """Everything that a provider is made from. Immutable; equal specs make equal providers."""

    @property
    def provider_name(self) -> str:
        """The name that callers ask for."""
        ...

    @property
    def provider_type(self) -> str:
        """The kind of provider, as ``provider_type`` in a file names it."""
        ...

    @property
    def secrets(self) -> Sequence[str]:
        """The secrets it contains, so that they can be hidden from output."""
        ...

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        ...

    def with_sign_in(self, grant: str) -> ProviderSpec:
        """Return the same client with another *grant* that begins with a sign-in.

        :param grant: as the key ``grant`` in a file names it.
        :raises InvalidConfigurationError: naming what is missing for it.
        """
        ...


@dataclass(frozen=True)
class Discovered:
    """A provider that a file, a mapping or the environment describes, valid or not.

    :ivar name: the provider's name; the position of its block, such as ``oauth2[1]``, if it has
        none.
    :ivar spec: ``None`` if there are problems.
    :ivar problems: everything that is wrong with it.
    :ivar warnings: a sentence for each secret that other users may see.
    :ivar variables: the environment variables that it reads, set or not, in their order.
    :ivar secret_file: the file that holds its secret, as the configuration names it.
    :ivar credential_files: the files with its keys, certificates and tokens.
    :ivar needs: the names of the providers whose tokens its requests need.
    """

    name: str
    spec: ProviderSpec | None = field(repr=False)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    secret_file: str | None = None
    credential_files: tuple[CredentialFile, ...] = ()
    needs: tuple[str, ...] = ()
