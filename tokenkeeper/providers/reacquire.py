"""The default ``refresh_token``: it calls ``acquire_token``, and detects endless recursion."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Protocol

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token

__all__ = ["Acquiring", "is_reacquiring", "reacquire"]


class Acquiring(Protocol):
    """What this module needs of a provider."""

    provider_name: str

    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Return a new token."""
        ...


_reacquiring: ContextVar[frozenset[int]] = ContextVar("tokenkeeper_reacquiring")
"""The ``id`` of each provider whose ``refresh_token`` is waiting for its ``acquire_token``."""


def is_reacquiring(provider: Acquiring) -> bool:
    """Return whether :func:`reacquire` is running for *provider* in this context."""
    return id(provider) in _reacquiring.get(frozenset())


def reacquire(provider: Acquiring) -> OAuth2Token | Awaitable[OAuth2Token]:
    """Return the result of ``provider.acquire_token()``, for the provider's ``refresh_token``.

    :raises TokenAcquisitionError: if ``acquire_token`` in turn called ``refresh_token``.
    """
    if is_reacquiring(provider):
        name = provider.provider_name
        raise TokenAcquisitionError(
            f"provider {name!r}: acquire_token and refresh_token call each other. "
            f"Make {type(provider).__name__}.acquire_token send a request itself.",
            provider_name=name,
            transient=False,
        )
    active = _reacquiring.get(frozenset()) | {id(provider)}
    outer = _reacquiring.set(active)
    try:
        result = provider.acquire_token()
    finally:
        _reacquiring.reset(outer)
    return _awaited(result, active) if inspect.isawaitable(result) else result


async def _awaited(result: Awaitable[OAuth2Token], active: frozenset[int]) -> OAuth2Token:
    outer = _reacquiring.set(active)  # an ``async def`` starts only when it is awaited
    try:
        return await result
    finally:
        _reacquiring.reset(outer)
