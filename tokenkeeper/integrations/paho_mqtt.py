"""paho-mqtt: clients whose password is a valid token whenever they connect."""

from __future__ import annotations

import os
import socket
import weakref
from contextlib import suppress
from typing import Any

from paho.mqtt.client import Client

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.integrations._bearer import bearer
from tokenkeeper.models import OAuth2Token
from tokenkeeper.source import TokenSource

__all__ = ["authenticate"]

_REJECTED = (4, 5, 134, 135)
"""CONNACK: bad user name or password, not authorized; of MQTT 3.1.1 and of MQTT 5."""


def authenticate(
    client: Client, source: TokenSource, username: str = "", *, reconnect: bool = False
) -> None:
    """Have *client* send a valid token as its password whenever it connects.

    If the broker rejects a token, paho connects again after a while, and the token is renewed for
    that. If there is no token, the attempt fails with a ``ConnectionError``: ``connect()`` raises
    it, and the network loop tries again.

    Call it before ``connect()``, and after you set ``on_connect`` and ``on_pre_connect``: both are
    called as before.

    :param source: the source of the token.
    :param username: the user's name; empty by default, as RabbitMQ takes it from the token.
    :param reconnect: whether to break the connection when the token was renewed, so that the
        network loop connects with the new one; ``False`` by default. For brokers that keep a
        connection whose token has expired, but ignore what it sends. The broker publishes the
        client's last will, if it has one.
    """
    hooks: Any = client
    authenticator = _Authenticator(source, username, hooks.on_pre_connect, hooks.on_connect)
    hooks.on_pre_connect = authenticator.on_pre_connect
    hooks.on_connect = authenticator.on_connect
    if reconnect:
        _break_on_renewal(client, source)


class _Authenticator:
    """The callbacks of one client. They run one at a time, on the thread of its network loop."""

    def __init__(
        self, source: TokenSource, username: str, on_pre_connect: Any, on_connect: Any
    ) -> None:
        self._source = source
        self._username = username
        self._on_pre_connect = on_pre_connect
        self._on_connect = on_connect
        self._sent = Hidden("")
        self._was_rejected = False

    def on_pre_connect(self, client: Client, userdata: Any) -> None:
        if self._on_pre_connect is not None:
            self._on_pre_connect(client, userdata)
        try:
            if self._was_rejected:
                self._sent = Hidden(self._source.renew_refused(self._sent.text))
            else:
                self._sent = Hidden(bearer(self._source))
        except OAuth2Error as error:  # any other than an OSError would end the network loop
            raise ConnectionError(f"no token to connect with: {error}") from error
        self._was_rejected = False
        client.username_pw_set(self._username, self._sent.text)

    def on_connect(self, client: Client, userdata: Any, flags: Any, reason: Any, *rest: Any) -> Any:
        self._was_rejected = getattr(reason, "value", reason) in _REJECTED
        if self._on_connect is not None:
            return self._on_connect(client, userdata, flags, reason, *rest)
        return None


def _break_on_renewal(client: Client, source: TokenSource) -> None:
    found = weakref.ref(client)

    def renewed(_: OAuth2Token) -> None:
        client = found()
        connection = client and client.socket()
        if connection:
            # A twin: closing paho's own socket here would race with its loop, also under TLS.
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    stop = source.subscribe(renewed)
    weakref.finalize(client, stop).atexit = False
