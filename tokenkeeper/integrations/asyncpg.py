"""``asyncpg``: connections and pools with a token as the password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg  # type: ignore[import-untyped]

from tokenkeeper._support.hiding import Hidden, without_frames_async
from tokenkeeper.integrations._databases import connect_async
from tokenkeeper.integrations._tokens import AsyncTokens
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

__all__ = ["connect_with"]


def connect_with(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    timeout: float | None = None,
) -> Callable[..., Awaitable[Any]]:
    """Return an ``asyncpg.connect()`` that uses a token as the password, for a pool or on its own.

    .. code-block:: text

        asyncpg.create_pool(dsn, connect=connect_with(source))

    If the database rejects the token, it is renewed, and the connection is made again, once.
    However many connections are rejected at once, one renewal follows. Other errors cause no
    renewal. Nothing blocks the event loop. Thread-safe.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param timeout: seconds to wait for a token at most; by default there is no limit. The
        ``timeout`` of asyncpg does not include this time.
    """
    tokens = AsyncTokens(keeper, provider_name, timeout)

    async def connect(*args: Any, **arguments: Any) -> Any:
        return await connect_async(tokens, partial(_connect, args, arguments))

    return connect


@without_frames_async
async def _connect(args: tuple[Any, ...], arguments: dict[str, Any], token: Hidden[str]) -> Any:
    return await asyncpg.connect(*args, **{**arguments, "password": token.text})
