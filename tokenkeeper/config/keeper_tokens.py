"""Tokens of the keeper that has the providers of a configuration, for the grants of others."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.names import TokenName, TokenParameters

__all__ = ["KeeperTokens", "ProviderToken"]


class _Keeper(Protocol):
    @property
    def source(self) -> Callable[..., Callable[[], str]]: ...


class KeeperTokens:
    """Finds the keeper of a configuration's providers late: it is made after them. Thread-safe.

    It holds the keeper weakly, and arrives without one in another process.
    """

    def __init__(self) -> None:
        self._keeper: Callable[[], _Keeper | None] = _none

    def attach(self, keeper: _Keeper) -> None:
        """Take tokens from *keeper* from now on."""
        self._keeper = weakref.ref(keeper)

    def get(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Return a valid token of the provider *name*.

        :param parameters: those of :meth:`~tokenkeeper.TokenKeeper.source`.
        :raises OAuth2Error: if there is none.
        """
        keeper = self._keeper()
        if keeper is None:
            raise TokenAcquisitionError(
                f"the token of provider {name!r} is needed, but no keeper has that provider",
                transient=False,
            )
        return keeper.source(name, **parameters)()

    def __reduce__(self) -> tuple[type[KeeperTokens], tuple[()]]:
        return KeeperTokens, ()


@dataclass(frozen=True)
class ProviderToken:
    """Returns the token of another provider of the same keeper when it is called."""

    tokens: KeeperTokens = field(repr=False, compare=False)
    provider_name: str
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> TokenName:
        """The name of the token."""
        return TokenName.of(self.provider_name, TokenParameters.of(**self.parameters))

    def __call__(self) -> str:
        """Return a valid token."""
        return self.tokens.get(self.provider_name, self.parameters)


def _none() -> None:
    """Return no keeper."""
