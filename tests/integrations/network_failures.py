"""Requests without a response, as hooks report them."""

import socket
import ssl

import requests

from tokenkeeper import TokenAcquisitionError

NETWORK_FAILURES = [
    (ConnectionRefusedError(), "connection_refused"),
    (socket.gaierror(-2, "no such name"), "dns"),
    (ssl.SSLError(1, "no"), "tls"),
    (TimeoutError(), "timeout"),
    (requests.ReadTimeout(), "timeout"),
    (ConnectionResetError(), "connection_broken"),
    (TokenAcquisitionError("no", network_reason="dns"), "dns"),
    (TokenAcquisitionError("no", network_reason="made up 8c1f"), None),
    (
        TokenAcquisitionError("no", network_reason="dns", error="invalid_client"),
        "invalid_client",
    ),
]
"""An error of a provider, and the reason that metrics name; ``None`` for one that has no name."""
