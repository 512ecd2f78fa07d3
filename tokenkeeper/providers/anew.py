"""Lets ``refresh_token`` call ``acquire_token``, which must not call it back."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Protocol

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token

__all__ = ["Acquiring", "ask_anew", "is_asking_anew"]


class Acquiring(Protocol):
    """What this module needs of a provider."""

    provider_name: str

    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Return a new token."""
        ...


_asking_anew: ContextVar[frozenset[int]] = ContextVar("tokenkeeper_asking_anew")
"""The providers whose ``refresh_token`` called ``acquire_token`` and waits for it, by ``id``."""


def is_asking_anew(provider: Acquiring) -> bool:
    """Return whether the caller was called by :func:`ask_anew` for *provider*."""
    return id(provider) in _asking_anew.get(frozenset())


def ask_anew(provider: Acquiring) -> OAuth2Token | Awaitable[OAuth2Token]:
    """Return what ``provider.acquire_token()`` returns, for the provider's ``refresh_token``.

    :raises TokenAcquisitionError: if that ``acquire_token`` called ``refresh_token``.
    """
    if is_asking_anew(provider):
        name = provider.provider_name
        raise TokenAcquisitionError(
            f"provider {name!r}: acquire_token and refresh_token call each other. "
            f"Make acquire_token of {type(provider).__name__} send a request of its own.",
            provider_name=name,
            transient=False,
        )
    asking = _asking_anew.get(frozenset()) | {id(provider)}
    outer = _asking_anew.set(asking)
    try:
        answer = provider.acquire_token()
    finally:
        _asking_anew.reset(outer)
    return _awaited(answer, asking) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Awaitable[OAuth2Token], asking: frozenset[int]) -> OAuth2Token:
    outer = _asking_anew.set(asking)  # an ``async def`` begins to run only now
    try:
        return await answer
    finally:
        _asking_anew.reset(outer)
