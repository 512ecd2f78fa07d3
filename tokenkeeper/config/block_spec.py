"""The specification of a provider that a block of a configuration describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tokenkeeper._support.checks import names_a_secret
from tokenkeeper.config.blocks import Azure, Block, Generic
from tokenkeeper.config.credentials import PASSWORDS
from tokenkeeper.config.keeper_tokens import KeeperTokens
from tokenkeeper.config.keys import keys_of
from tokenkeeper.config.late_tokens import LATE_TOKENS
from tokenkeeper.config.proof import Given
from tokenkeeper.config.sign_in import with_sign_in
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["KNOWN_KEYS", "BlockSpec", "is_secret_argument", "is_secret_header"]

KNOWN_KEYS = frozenset({*keys_of(Azure), *keys_of(Generic)}) - {*LATE_TOKENS, *PASSWORDS[1:]}
"""The keys of our own kinds that no custom class has as an argument with a secret. Others may be
arguments of one."""

_SECRET_HEADER = re.compile(r"auth|cookie|session|signature", re.IGNORECASE)
_NOT_A_SECRET = re.compile(r"_(?:file|path|url|uri|endpoint|method|id|name|type|seconds)s?$")


@dataclass(frozen=True)
class BlockSpec:
    """A valid block and its secrets. Implements :class:`~tokenkeeper.config.spec.ProviderSpec`.

    Keys, certificates and tokens in files are not a part of it: what uses them reads them again.

    :ivar passwords: the secrets by key, such as ``client_secret``, also of those in files.
    :ivar directory: where relative paths in the block begin.
    :ivar digest: of the files that are read once: another content makes another provider.
    :ivar tokens: where the provider gets the tokens of others.
    """

    block: Block
    passwords: Mapping[str, str] = field(repr=False)
    directory: Path
    digest: str = ""
    tokens: KeeperTokens = field(default_factory=KeeperTokens, repr=False, compare=False)

    @property
    def secret(self) -> str | None:
        """The client secret."""
        return self.passwords.get("client_secret")

    @property
    def provider_name(self) -> str:
        """The name that callers ask for."""
        return self.block.provider_name

    @property
    def provider_type(self) -> str:
        """The ``provider_type`` of the block."""
        return self.block.provider_type

    @property
    def secrets(self) -> list[str]:
        """The passwords, and arguments of a custom class that are secrets by their names."""
        own = self.block.model_extra or {}
        named = [value for name, value in own.items() if names_a_secret(name)]
        return [
            each for each in (*self.passwords.values(), *named) if isinstance(each, str) and each
        ]

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        return self.block.make_provider(Given(self.passwords, self.directory, self.tokens))

    def with_sign_in(self, grant: str) -> BlockSpec:
        """Return the same client with another *grant* that begins with a sign-in.

        :raises InvalidConfigurationError: naming what is missing for it.
        """
        changes = with_sign_in(self.block.content(), grant, self.provider_name)
        return replace(self, block=self.block.model_copy(update=changes))


def is_secret_argument(name: str) -> bool:
    """Return whether *name* is an argument of a custom class whose value is a secret."""
    return name not in KNOWN_KEYS and names_a_secret(name) and not _NOT_A_SECRET.search(name)


def is_secret_header(name: str) -> bool:
    """Return whether the value of the header *name* may be a credential."""
    return _SECRET_HEADER.search(name) is not None
