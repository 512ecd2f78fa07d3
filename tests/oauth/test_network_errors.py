"""The one error that becomes of an error of the network: its text, its reason and its cause."""

import socket
import ssl

import pytest
import requests
import urllib3.exceptions

from tokenkeeper.oauth.network_errors import TooLongError, explain

URL = "https://id.example.com/token"


def explained(error, url=URL):
    return explain(error, url, "api", connecting="connecting", reading="reading")


def rejected(reason):
    """Return the error of a certificate that was rejected for *reason*, which may be missing."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    if reason is not None:
        error.verify_message = reason
    return error


def from_library(library):
    error = ssl.SSLError(1, "no start line")
    error.library = library
    return error


class ServerDisconnectedError(Exception):
    """An error of another HTTP library, known by its name only."""


CHECK_CERTIFICATE = "Check the server's certificate, and this machine's clock."
CHECK_HOST = "Check the host in the URL."
SET_VERIFY = "Set verify or REQUESTS_CA_BUNDLE to the CA that signed it."
CHECK_BUNDLE = "Check verify and REQUESTS_CA_BUNDLE."
CHECK_NETWORK = "Check network, firewall and proxy."
CHECK_TIMEOUT = "If this persists, increase the timeout."
CHECK_PORT = "Check that the port speaks TLS, and any proxy in front of it."


@pytest.mark.parametrize(
    ("error", "text", "reason", "transient"),
    [
        (
            TooLongError(),
            "the response is longer than 1 MiB. Check the URL.",
            "bad_answer",
            False,
        ),
        (
            requests.exceptions.ProxyError("Tunnel connection failed: 502 Bad Gateway"),
            "the proxy failed. Check HTTPS_PROXY and NO_PROXY.",
            "proxy",
            True,
        ),
        (
            requests.exceptions.ProxyError("Tunnel connection failed: 407 Who are you"),
            "the proxy requires credentials. Set them in HTTPS_PROXY.",
            "proxy",
            False,
        ),
        (
            urllib3.exceptions.ProxyError("407 Who are you", OSError("407 Who are you")),
            "the proxy requires credentials. Set them in HTTPS_PROXY.",
            "proxy",
            False,
        ),
        (
            from_library("PEM"),
            f"TLS: the CA certificate file contains no certificates. {CHECK_BUNDLE}",
            "tls",
            False,
        ),
        (
            from_library("X509"),
            f"TLS: the CA certificate file contains no certificates. {CHECK_BUNDLE}",
            "tls",
            False,
        ),
        (from_library("SSL"), f"TLS failed. {CHECK_PORT}", "tls", True),
        (requests.exceptions.SSLError("wrong version"), f"TLS failed. {CHECK_PORT}", "tls", True),
        (
            urllib3.exceptions.ReadTimeoutError(None, URL, "The handshake operation timed out"),
            f"the TLS handshake timed out (connecting). {CHECK_TIMEOUT}",
            "timeout",
            True,
        ),
        (
            requests.ConnectTimeout(),
            f"the connection timed out (connecting). {CHECK_NETWORK}",
            "timeout",
            True,
        ),
        (
            requests.ReadTimeout(),
            f"the response timed out (reading). {CHECK_TIMEOUT}",
            "timeout",
            True,
        ),
        (
            socket.gaierror(-2, "unknown"),
            "DNS: the name could not be resolved. Check the URL and the resolver.",
            "dns",
            True,
        ),
        (
            ConnectionRefusedError(),
            "the connection was refused. Check host and port, and that the server is running.",
            "connection_refused",
            True,
        ),
        (
            urllib3.exceptions.NewConnectionError(None, "no route"),
            f"could not connect. {CHECK_NETWORK}",
            "unreachable",
            True,
        ),
        (
            urllib3.exceptions.DecodeError(),
            "the response could not be decompressed. Check the server and the proxy.",
            "bad_answer",
            False,
        ),
        (
            ConnectionResetError(),
            (
                "the connection was interrupted. If this persists, check the server and any proxy "
                "in front of it."
            ),
            "connection_broken",
            True,
        ),
        (
            OSError("no such file"),
            f"TLS: the CA certificate file was not found. {CHECK_BUNDLE}",
            "tls",
            False,
        ),
        (
            ValueError("no"),
            "the request raised ValueError. Check the URL and the network.",
            None,
            False,
        ),
        (
            ServerDisconnectedError("no"),
            "the request raised ServerDisconnectedError. Check the URL and the network.",
            "connection_broken",
            False,
        ),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else None,
)
def test_what_an_error_says(error, text, reason, transient):
    """Each kind of error has one text, one reason to count by, and says whether to try again."""
    found = explained(error)
    assert str(found) == f"provider 'api': request to id.example.com failed: {text}"
    assert (found.network_reason, found.transient) == (reason, transient)
    assert found.provider_name == "api"


@pytest.mark.parametrize(
    ("reason", "shown", "advice"),
    [
        ("certificate has expired", None, CHECK_CERTIFICATE),
        ("certificate is not yet valid", None, CHECK_CERTIFICATE),
        ("Hostname mismatch, certificate is not valid for 'a.example'", None, CHECK_HOST),
        ("hostname 'a.example' doesn't match", None, CHECK_HOST),
        ("IP address mismatch, certificate is not valid for '::1'", None, CHECK_HOST),
        ("self-signed certificate", None, SET_VERIFY),
        ("", "it could not be verified", SET_VERIFY),
        (None, "it could not be verified", SET_VERIFY),
    ],
)
def test_a_certificate_that_is_rejected(reason, shown, advice):
    """The text has OpenSSL's reason, if it gives one, and the advice depends on it."""
    found = explained(rejected(reason))
    assert str(found) == (
        "provider 'api': request to id.example.com failed: TLS: the certificate was not accepted "
        f"({shown or reason}). {advice}"
    )
    assert (found.network_reason, found.transient) == ("tls", False)


@pytest.mark.parametrize(
    "text", ["alert bad certificate", "ALERT BAD CERTIFICATE", "No Certificate Returned"]
)
def test_a_server_that_wants_a_certificate(text):
    """The alert is recognized in any case."""
    found = explained(ssl.SSLError(1, text))
    assert "failed: TLS: client certificate required. " in str(found)
    assert not str(found).endswith("..")
    assert found.transient is False


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://id.example.com", "id.example.com"),
        ("https://id.example.com/a/b/c", "id.example.com"),
        ("https://id.example.com:8443/a?b=hunter2/c", "id.example.com:8443"),
        ("https://id.example.com?code=hunter2", "id.example.com"),
        ("https://id.example.com/a?next=https://other.example/b", "id.example.com"),
        ("https://me:hunter2@id.example.com/a", "id.example.com"),
        ("https://me:hunter2@home@id.example.com/a", "id.example.com"),
    ],
)
def test_the_host_in_the_text(url, host):
    """Of the URL only the host and its port are shown."""
    text = str(explained(ConnectionRefusedError(), url))
    assert text.startswith(f"provider 'api': request to {host} failed: the connection was refused.")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (requests.ConnectionError(cause := ConnectionResetError()), cause),
        (cause := TimeoutError(), cause),
        (requests.ConnectionError(urllib3.exceptions.ProtocolError("no")), None),
        (requests.ConnectionError("no"), None),
        (ValueError("no"), None),
    ],
    ids=["wrapped", "bare", "a library's", "requests' own", "another"],
)
def test_the_cause(error, cause):
    """The cause is the operating system's error, never one of a library, which may quote a URL."""
    assert explained(error).__cause__ is cause
