"""Tokens for clients that send only their text: databases, brokers, and hooks that return a string.

A token that is bound to a key (DPoP) is useless there, so it is refused before it is sent.
"""

from __future__ import annotations

from tokenkeeper._support.proofs import as_bearer
from tokenkeeper.source import AsyncTokenSource, TokenSource

__all__ = ["bearer", "bearer_async"]


def bearer(source: TokenSource, timeout: float | None = None) -> str:
    """Return a valid token.

    :param timeout: seconds to wait for it at most; by default there is no limit.
    :raises InvalidConfigurationError: if it is bound to a key.
    :raises OAuth2Error: if there is none.
    """
    return as_bearer(source.valid(timeout).token, source.name.provider_name)


async def bearer_async(source: AsyncTokenSource, timeout: float | None = None) -> str:
    """Return a valid token: :func:`bearer`."""
    return as_bearer((await source.valid(timeout)).token, source.name.provider_name)
