"""Tokens of the keeper that has the providers of a configuration, for the grants of others."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tokenkeeper.exceptions import TokenAcquisitionError

__all__ = ["KeeperTokens", "ProviderToken"]

LONGEST_WAIT_SECONDS = 60.0
"""How long a request waits for the token of another provider. A request takes 30 s at most."""


class _Source(Protocol):
    def get_token(self, force_refresh: bool = False, timeout: float | None = None) -> str: ...


class _Keeper(Protocol):
    @property
    def source(self) -> Callable[..., _Source]: ...


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
        return keeper.source(name, **parameters).get_token(timeout=LONGEST_WAIT_SECONDS)

    def __reduce__(self) -> tuple[type[KeeperTokens], tuple[()]]:
        return KeeperTokens, ()


@dataclass(frozen=True)
class ProviderToken:
    """Returns the token of another provider of the same keeper when it is called."""

    tokens: KeeperTokens = field(repr=False, compare=False)
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self) -> str:
        """Return a valid token."""
        return self.tokens.get(self.name, self.parameters)


def _none() -> None:
    """Return no keeper."""
