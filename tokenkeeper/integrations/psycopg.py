"""``psycopg`` and ``psycopg_pool``: connection classes with a token as the password."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, TypeVar, overload

import psycopg

from tokenkeeper._support.hiding import Hidden, without_frames, without_frames_async
from tokenkeeper.integrations._databases import connect, connect_async
from tokenkeeper.integrations._tokens import AsyncTokens, Tokens
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

__all__ = ["async_connection_class", "connection_class"]

_C = TypeVar("_C", bound="psycopg.Connection[Any]")
_A = TypeVar("_A", bound="psycopg.AsyncConnection[Any]")


@overload
def connection_class(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    timeout: float | None = None,
) -> type[psycopg.Connection[Any]]: ...


@overload
def connection_class(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    base: type[_C],
    timeout: float | None = None,
) -> type[_C]: ...


def connection_class(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    base: type[psycopg.Connection[Any]] = psycopg.Connection,
    timeout: float | None = None,
) -> type[psycopg.Connection[Any]]:
    """Return a class whose ``connect()`` uses a token as the password, for a pool or on its own.

    .. code-block:: text

        ConnectionPool(conninfo, connection_class=connection_class(source))

    If the database rejects the token, it is renewed, and the connection is made again, once.
    However many connections are rejected at once, one renewal follows. Other errors cause no
    renewal. Thread-safe.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param base: the class to derive from; :class:`psycopg.Connection` by default.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """
    tokens = Tokens(keeper, provider_name, timeout)
    return type(base.__name__, (_Authenticated, base), {"_tokens": tokens})


@overload
def async_connection_class(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    timeout: float | None = None,
) -> type[psycopg.AsyncConnection[Any]]: ...


@overload
def async_connection_class(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    base: type[_A],
    timeout: float | None = None,
) -> type[_A]: ...


def async_connection_class(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    base: type[psycopg.AsyncConnection[Any]] = psycopg.AsyncConnection,
    timeout: float | None = None,
) -> type[psycopg.AsyncConnection[Any]]:
    """Return the same as :func:`connection_class` for asyncio and ``AsyncConnectionPool``.

    :param base: the class to derive from; :class:`psycopg.AsyncConnection` by default.
    """
    tokens = AsyncTokens(keeper, provider_name, timeout)
    return type(base.__name__, (_AuthenticatedAsync, base), {"_tokens": tokens})


class _Authenticated:
    """Comes before a connection class in the order of methods."""

    _tokens: ClassVar[Tokens]

    @classmethod
    def connect(cls, conninfo: str = "", **arguments: Any) -> Any:
        connect_class = super().connect  # type: ignore[misc]
        return connect(cls._tokens, partial(_connect, connect_class, conninfo, arguments))


class _AuthenticatedAsync:
    """Does the same for an async one."""

    _tokens: ClassVar[AsyncTokens]

    @classmethod
    async def connect(cls, conninfo: str = "", **arguments: Any) -> Any:
        connect_class = super().connect  # type: ignore[misc]
        connect_with = partial(_connect_async, connect_class, conninfo, arguments)
        return await connect_async(cls._tokens, connect_with)


@without_frames
def _connect(
    connect_class: Any, conninfo: str, arguments: dict[str, Any], token: Hidden[str]
) -> Any:
    return connect_class(conninfo, **{**arguments, "password": token.text})


@without_frames_async
async def _connect_async(
    connect_class: Any, conninfo: str, arguments: dict[str, Any], token: Hidden[str]
) -> Any:
    return await connect_class(conninfo, **{**arguments, "password": token.text})
