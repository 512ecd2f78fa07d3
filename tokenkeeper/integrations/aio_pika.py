"""aio-pika: AMQP connections whose password is a token, also when they connect again."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractRobustConnection
from aiormq.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError
from yarl import URL

from tokenkeeper._support.hiding import Hidden, forget_frames
from tokenkeeper.integrations._bearer import bearer_async
from tokenkeeper.models import OAuth2Token
from tokenkeeper.source import TokenSource

__all__ = ["connect", "connect_robust", "keep_authenticated"]

_REASON = "the token was renewed"
_REJECTED = (AuthenticationError, ProbableAuthenticationError)


async def connect_robust(
    source: TokenSource, url: str | URL | None = None, **options: Any
) -> AbstractRobustConnection:
    """Return a connection that connects again on its own, each time with a valid token.

    If the broker rejects the token, it is renewed, and the connection is tried once more.

    :param source: the source of the token.
    :param url: where to connect to; or see *options*. A password in it is not used.
    :param options: those of ``aio_pika.connect_robust()``, except ``login`` and ``password``.
    :raises OAuth2Error: if there is no token.

    Also raises the errors of aio-pika.
    """
    connection: AbstractRobustConnection = await _connected(
        aio_pika.connect_robust, aio_pika.RobustConnection, source, url, options
    )
    return connection


async def connect(
    source: TokenSource, url: str | URL | None = None, **options: Any
) -> AbstractConnection:
    """Return a connection for as long as it lasts: like :func:`connect_robust` otherwise."""
    connection: AbstractConnection = await _connected(
        aio_pika.connect, aio_pika.Connection, source, url, options
    )
    return connection


async def _connected(
    open_connection: Any,
    connection_class: Any,
    source: TokenSource,
    url: str | URL | None,
    options: dict[str, Any],
) -> Any:
    async def attempt() -> Any:
        made: list[AbstractConnection] = []

        def remembered(*arguments: Any, **more: Any) -> AbstractConnection:
            made.append(options.get("connection_class", connection_class)(*arguments, **more))
            return made[0]

        all_options = {**options, "connection_class": remembered}
        try:
            if url is None:
                return await open_connection(**all_options, login="", password=token.text)
            return await open_connection(URL(url).with_password(token.text), **all_options)
        except BaseException:
            for connection in made:  # aio-pika would leave it to the garbage collection
                await connection.close()
            raise

    token = Hidden(await bearer_async(source.aio))
    try:
        try:
            connection = await attempt()
        except _REJECTED as error:
            forget_frames(error)
            token = Hidden(await source.aio.renew_refused(token.text))
            connection = await attempt()
    except Exception as error:
        forget_frames(error)  # those of aio-pika have the URL with the token
        raise
    keep_authenticated(connection, source)
    newest = Hidden(await bearer_async(source.aio))
    if newest != token:  # renewed just before the subscription
        await connection.update_secret(newest.text, reason=_REASON)
    return connection


def keep_authenticated(connection: AbstractConnection, source: TokenSource) -> Callable[[], None]:
    """Send each new token to an open connection, and use it when it connects again.

    Call it on the connection's event loop. Returns a function that ends this; the end of the
    connection does so as well. A token that the broker rejects when a robust connection connects
    again is renewed for the next attempt.

    :param source: the source of the token that the connection was opened with.
    """
    found: weakref.ref[Any] = weakref.ref(connection)

    async def renewed(token: OAuth2Token) -> None:
        connection = found()
        if connection is None or connection.is_closed:
            return
        connection.url = connection.url.with_password(token.access_token)
        if connection.connected.is_set():
            with suppress(AMQPError):  # it was closed meanwhile
                await connection.update_secret(token.access_token, reason=_REASON)

    async def closed(connection: Any, error: BaseException | None) -> None:
        if connection is None or connection.is_closed:
            return
        if isinstance(error, _REJECTED):
            token = await source.aio.renew_refused(connection.url.password or " ")
        else:
            token = await bearer_async(source.aio)
        connection.url = connection.url.with_password(token)

    stop = source.subscribe(renewed)
    connection.close_callbacks.add(closed)
    weakref.finalize(connection, stop).atexit = False
    return stop
