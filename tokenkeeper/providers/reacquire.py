"""``refresh_token`` by way of ``acquire_token``, which must not lead back to it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from tokenkeeper.exceptions import TokenAcquisitionError

if TYPE_CHECKING:
    from tokenkeeper.models import OAuth2Token
    from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["is_reacquiring", "reacquire"]

_reacquiring: ContextVar[frozenset[int]] = ContextVar("tokenkeeper_reacquiring")
"""The providers whose ``refresh_token`` called ``acquire_token`` and waits for it, by ``id``."""


def is_reacquiring(provider: BaseOAuth2Provider) -> bool:
    """Return whether the caller was called by :func:`reacquire` for *provider*."""
    return id(provider) in _reacquiring.get(frozenset())


def reacquire(provider: BaseOAuth2Provider) -> OAuth2Token | Awaitable[OAuth2Token]:
    """Return what ``provider.acquire_token()`` returns, for the provider's ``refresh_token``.

    :raises TokenAcquisitionError: if that ``acquire_token`` called ``refresh_token``.
    """
    if is_reacquiring(provider):
        name = provider.provider_name
        raise TokenAcquisitionError(
            f"provider {name!r}: acquire_token and refresh_token call each other: "
            f"have acquire_token of {type(provider).__name__} make a request of its own",
            provider_name=name,
            transient=False,
        )
    asking = _reacquiring.get(frozenset()) | {id(provider)}
    outer = _reacquiring.set(asking)
    try:
        answer = provider.acquire_token()
    finally:
        _reacquiring.reset(outer)
    return _awaited(answer, asking) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Awaitable[OAuth2Token], asking: frozenset[int]) -> OAuth2Token:
    outer = _reacquiring.set(asking)  # an ``async def`` begins to run only now
    try:
        return await answer
    finally:
        _reacquiring.reset(outer)
