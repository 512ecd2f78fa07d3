"""The reason of a network error, whatever library raised it."""

import errno
import socket
import ssl

import aiohttp
import httpx
import pytest
import requests
import urllib3

from tokenkeeper._support.network import NETWORK_REASONS, network_reason
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.retry import as_oauth2_error


def caused(error, cause):
    """Return *error*, raised from *cause*."""
    error.__cause__ = cause
    return error


def within(error, context):
    """Return *error*, raised while *context* is handled."""
    error.__context__ = context
    return error


def retried(error):
    """Return *error* as requests wraps it."""
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(POOL, "/", error))


POOL = urllib3.HTTPConnectionPool("127.0.0.1")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
NO_NAME = socket.gaierror(-2, "Name or service not known")
UNVERIFIED = ssl.SSLCertVerificationError(1, "certificate verify failed")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NO_NAME, "dns"),
        (REFUSED, "connection_refused"),
        (ConnectionResetError(), "connection_broken"),
        (BrokenPipeError(), "connection_broken"),
        (TimeoutError(), "timeout"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unreachable"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "unreachable"),
        (ssl.SSLError(1, "wrong version number"), "tls"),
        (UNVERIFIED, "tls"),
        (requests.ConnectTimeout(), "timeout"),
        (requests.ReadTimeout(), "timeout"),
        (requests.exceptions.SSLError(), "tls"),
        (requests.exceptions.ProxyError(), "proxy"),
        (retried(REFUSED), "connection_refused"),
        (retried(NO_NAME), "dns"),
        (requests.ConnectionError(), "connection_broken"),
        (urllib3.exceptions.ProtocolError("broke", REFUSED), "connection_refused"),
        (urllib3.exceptions.IncompleteRead(1, 2), "connection_broken"),
        (caused(httpx.ConnectError("no"), REFUSED), "connection_refused"),
        (within(httpx.ConnectError("no"), NO_NAME), "dns"),
        (within(httpx.ConnectError("no"), UNVERIFIED), "tls"),
        (httpx.ConnectError("no"), "unreachable"),
        (httpx.ReadTimeout("no"), "timeout"),
        (httpx.RemoteProtocolError("no"), "connection_broken"),
        (httpx.ProxyError("no"), "proxy"),
        (aiohttp.ServerTimeoutError(), "timeout"),
        (aiohttp.ServerDisconnectedError(), "connection_broken"),
        (caused(RuntimeError(), caused(ValueError(), REFUSED)), "connection_refused"),
        (ValueError("no"), None),
        (FileNotFoundError(), None),
        (KeyboardInterrupt(), None),
    ],
    ids=repr,
)
def test_reasons(error, reason):
    """The reason is that of the innermost error that has one."""
    assert network_reason(error) == reason
    assert reason in (None, *NETWORK_REASONS)
    ours = as_oauth2_error(error, "api")
    assert isinstance(ours, TokenAcquisitionError)
    assert ours.network_reason == reason


def test_errors_that_refer_to_each_other():
    """A cycle of causes terminates."""
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert network_reason(first) is None
