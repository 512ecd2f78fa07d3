"""Connecting to a database with a token as the password, and again if the database rejects it.

Databases check a password when a client connects, and only then.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._tokens import AsyncTokens
from tokenkeeper.integrations._unauthorized import Refusal

__all__ = ["BlockingTokens", "connect", "connect_async", "rejects_password"]

_T = TypeVar("_T")

_REJECTIONS = frozenset(
    {
        "28000",  # SQLSTATE: invalid authorization specification, as for RADIUS, PAM and LDAP
        "28P01",  # PostgreSQL: invalid password
        1045,  # MySQL: ER_ACCESS_DENIED_ERROR
    }
)

_MESSAGE = re.compile("authentication failed|access token", re.IGNORECASE)
"""What PostgreSQL and Azure's PostgreSQL say in English. libpq, which psycopg and psycopg2 use,
passes no SQLSTATE on for a connection that failed."""


def rejects_password(error: BaseException) -> bool:
    """Return whether *error* says that the database rejected the password of a new connection.

    ============================================  =================================
    driver                                        where the code is
    ============================================  =================================
    asyncpg, and whatever has a ``sqlstate``      ``error.sqlstate``
    pg8000                                        ``error.args[0]["C"]``
    PyMySQL, mysqlclient, aiomysql, asyncmy       ``error.args[0]``
    mysql-connector-python                        ``error.errno``
    pyodbc                                        ``error.args[0]``
    psycopg, psycopg2                             only in the message
    ============================================  =================================
    """
    code = _code(error)
    return bool(_MESSAGE.search(str(error))) if code is None else code in _REJECTIONS


def _code(error: BaseException) -> object:
    """Return the SQLSTATE or the number of *error*; ``None`` if it has none."""
    for name in ("sqlstate", "pgcode", "errno"):
        if (code := getattr(error, name, None)) is not None:
            return code
    first = error.args[0] if error.args else None
    if isinstance(first, dict):
        return first.get("C")
    return first if isinstance(first, int) or re.fullmatch(r"\w{5}", str(first)) else None


class BlockingTokens(Protocol):
    """Tokens that a caller waits for: :class:`~tokenkeeper.integrations._tokens.Tokens`."""

    def get(self) -> Hidden[str]: ...

    def replace(self, refusal: Refusal) -> Hidden[str] | None: ...


def connect(tokens: BlockingTokens, connect_with: Callable[[Hidden[str]], _T]) -> _T:
    """Return what *connect_with* returns for a token; call it once more if that is rejected.

    :raises OAuth2Error: if there is no token. All other errors are those of *connect_with*.
    """
    token = tokens.get()
    try:
        return connect_with(token)
    except Exception as error:
        if not rejects_password(error):
            raise
        new = tokens.replace(Refusal(token, can_be_resent=lambda: True))
        if new is None:
            raise
    return connect_with(new)


async def connect_async(
    tokens: AsyncTokens, connect_with: Callable[[Hidden[str]], Awaitable[_T]]
) -> _T:
    """Do what :func:`connect` does, without blocking the event loop."""
    token = await tokens.get()
    try:
        return await connect_with(token)
    except Exception as error:
        if not rejects_password(error):
            raise
        new = await tokens.replace(Refusal(token, can_be_resent=lambda: True))
        if new is None:
            raise
    return await connect_with(new)
