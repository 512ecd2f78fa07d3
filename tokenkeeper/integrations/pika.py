"""pika: AMQP connections whose password is a token, which is replaced before it expires."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import partial
from typing import Any

import pika  # type: ignore[import-untyped]
from pika.exceptions import (  # type: ignore[import-untyped]
    ConnectionWrongStateError,
    ProbableAuthenticationError,
)

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden, forget_frames
from tokenkeeper.integrations._bearer import bearer
from tokenkeeper.models import OAuth2Token
from tokenkeeper.source import TokenSource

__all__ = ["TokenCredentials", "connect", "keep_authenticated"]


class TokenCredentials(NotPicklable, pika.PlainCredentials):  # type: ignore[misc]
    """Credentials that ask for a valid token whenever a connection is opened.

    They suit every adapter, and any number of connections. An open connection is authenticated
    again by :func:`keep_authenticated`.

    :param source: the source of the token. It blocks while there is no valid token, so on an event
        loop, await ``source.aio.get_token()`` before you connect.
    :param username: the user's name; empty by default, as RabbitMQ takes it from the token.
    """

    def __init__(self, source: TokenSource, username: str = "") -> None:
        super().__init__(username, "")
        self._source = source
        self._sent: Hidden[str] | None = None

    def response_for(self, start: Any) -> Any:
        """Return the answer to the broker's challenge."""
        self._sent = Hidden(bearer(self._source))
        return pika.PlainCredentials(self.username, self._sent.text).response_for(start)

    def was_sent(self) -> Hidden[str]:
        """Return the token that was sent last.

        :meta private:
        """
        return self._sent or Hidden("")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def connect(
    source: TokenSource, parameters: pika.connection.Parameters | None = None
) -> pika.BlockingConnection:
    """Return a blocking connection that :func:`keep_authenticated` looks after.

    If the broker rejects the token, it is renewed, and the connection is tried once more.

    :param source: the source of the token.
    :param parameters: where to connect to; by default localhost. Its credentials are not used.
    :raises OAuth2Error: if there is no token.

    Also raises the errors of pika: ``ProbableAuthenticationError`` if the next token is rejected.
    """
    credentials = TokenCredentials(source)
    parameters = copy(parameters or pika.ConnectionParameters())
    parameters.credentials = credentials
    bearer(source)  # an error here leaves no socket open
    try:
        connection = pika.BlockingConnection(parameters)
    except ProbableAuthenticationError as error:
        forget_frames(error)
        source.renew_refused(credentials.was_sent().text)
        connection = pika.BlockingConnection(parameters)
    keep_authenticated(connection, source)
    newest = Hidden(bearer(source))
    if newest != credentials.was_sent():  # renewed just before the subscription
        _update(connection, newest)
    return connection


def keep_authenticated(connection: Any, source: TokenSource) -> Callable[[], None]:
    """Send each new token to an open connection; return a function that ends this.

    It ends with the connection. A token is sent on the connection's own thread: on a
    ``BlockingConnection`` while it is in ``process_data_events()``, ``start_consuming()`` or
    ``sleep()``, on others by their event loop.

    :param connection: a ``BlockingConnection``, or one of the adapters for event loops.
    :param source: the source of the token that it was opened with.
    """
    found = weakref.ref(connection)

    def renewed(token: OAuth2Token) -> None:
        connection = found()
        if connection is not None and connection.is_open:
            update = partial(_update, connection, Hidden(token.access_token))
            _scheduler(connection)(update)

    stop = source.subscribe(renewed)
    weakref.finalize(connection, stop).atexit = False
    return stop


def _scheduler(connection: Any) -> Callable[[Callable[[], None]], object]:
    """Return a thread-safe function that runs another one on the connection's thread."""
    if isinstance(connection, pika.BlockingConnection):
        return connection.add_callback_threadsafe  # type: ignore[no-any-return]
    loop = connection.ioloop  # pika's own, or that of asyncio, gevent or Tornado
    for name in ("add_callback_threadsafe", "call_soon_threadsafe"):
        if hasattr(loop, name):
            return getattr(loop, name)  # type: ignore[no-any-return]
    return loop.add_callback  # type: ignore[no-any-return]


def _update(connection: Any, token: Hidden[str]) -> None:
    with suppress(ConnectionWrongStateError):  # it was closed meanwhile
        connection.update_secret(token.text, "the token was renewed")
