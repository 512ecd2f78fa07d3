"""Connections through a SOCKS proxy, within the request's total time. Requires PySocks.

PySocks applies the whole timeout to each of the many small reads of its handshake.
"""

from __future__ import annotations

import socket
from typing import Any

import socks  # type: ignore[import-untyped]
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from tokenkeeper.oauth.deadline import current_budget

__all__ = ["SocksConnection"]


class _BoundedSocket(socks.socksocket):  # type: ignore[misc]  # untyped
    """A socket whose handshake with the proxy stays within the current thread's budget.

    PySocks reads the handshake through ``makefile``, which calls ``recv_into``.
    """

    def recv_into(self, *args: Any) -> int:
        self.settimeout(current_budget().next_read())
        return int(super().recv_into(*args))


class SocksConnection(HTTPConnection):
    """Connects like urllib3's ``SOCKSConnection``; it is mixed into that class."""

    _socks_options: dict[str, Any]

    def _new_conn(self) -> socket.socket:
        options = self._socks_options
        failure: OSError = OSError("the proxy's name has no address")
        try:
            found = socket.getaddrinfo(
                options["proxy_host"], options["proxy_port"], 0, socket.SOCK_STREAM
            )
        except OSError as error:
            raise NewConnectionError(
                self, f"the proxy's name could not be resolved: {error}"
            ) from error
        for family, kind, protocol, _, _ in found:
            sock = _BoundedSocket(family, kind, protocol)
            try:
                return self._connect(sock)
            except OSError as error:
                sock.close()
                failure = getattr(error, "socket_err", None) or error
            except BaseException:
                sock.close()
                raise
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(
                self, "the connection through the proxy timed out"
            ) from failure
        raise NewConnectionError(
            self, f"could not connect through the proxy: {failure}"
        ) from failure

    def _connect(self, sock: socket.socket) -> socket.socket:
        options = self._socks_options
        for option in self.socket_options or ():
            sock.setsockopt(*option)
        sock.set_proxy(  # type: ignore[attr-defined]  # untyped
            options["socks_version"],
            options["proxy_host"],
            options["proxy_port"],
            options["rdns"],
            options["username"],
            options["password"],
        )
        budget = current_budget()
        sock.settimeout(min(self.timeout or budget.next_read(), budget.next_read()))
        if self.source_address:
            sock.bind(self.source_address)
        sock.connect((self.host, self.port))
        return sock
