"""Gives each request with a client's certificate TLS settings of its own.

An ``SSLContext`` that has loaded a certificate presents it on every connection, and it can neither
be unloaded nor copied. So a context is made for one request, and dropped with its connection.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import requests
import requests.adapters
from urllib3.util.ssl_ import create_urllib3_context, resolve_cert_reqs, resolve_ssl_version

from tokenkeeper.oauth.client_proof import ClientCertificate

__all__ = ["OwnContextError", "cert_argument", "let_present", "paths_of", "tls_context"]


class OwnContextError(Exception):
    """A caller's adapter has an ``SSLContext``, which would keep the client's certificate."""


def paths_of(certificate: object) -> object:
    """Return a certificate in the form in which requests and other adapters take it."""
    return certificate.pair.files if isinstance(certificate, ClientCertificate) else certificate


def cert_argument(session: object, certificate: ClientCertificate | None) -> dict[str, Any]:
    """Return the argument by which *session* gets *certificate*, if there is one."""
    if certificate is None:
        return {}
    ours = isinstance(session, requests.Session)
    return {"cert": certificate if ours else paths_of(certificate)}


def let_present(adapter: requests.adapters.HTTPAdapter) -> None:
    """Have *adapter*, which serves one request only, take a :class:`ClientCertificate`.

    What else requests takes as ``cert=`` works as before.
    """
    pool_key = adapter.build_connection_pool_key_attributes
    verify_pool: Any = adapter.cert_verify

    def build(request: Any, verify: Any, cert: Any = None) -> Any:
        if not isinstance(cert, ClientCertificate):
            return pool_key(request, verify, cert)
        host, settings = pool_key(request, verify, None)
        context = tls_context({**adapter.poolmanager.connection_pool_kw, **settings}, cert)
        # A value of None also removes what the adapter sets for all its connections.
        none = {"cert_file": None, "key_file": None, "key_password": None}
        return host, {**settings, **none, "ssl_context": context}

    def cert_verify(conn: Any, url: Any, verify: Any, cert: Any) -> None:
        verify_pool(conn, url, verify, None if isinstance(cert, ClientCertificate) else cert)

    vars(adapter).update(build_connection_pool_key_attributes=build, cert_verify=cert_verify)


def tls_context(settings: Mapping[str, Any], certificate: ClientCertificate) -> ssl.SSLContext:
    """Return a context as urllib3 makes it from *settings*, with *certificate*.

    :raises OwnContextError: if *settings* have a context already.
    """
    if settings.get("ssl_context") is not None:
        raise OwnContextError
    version = settings.get("ssl_version")
    context = create_urllib3_context(
        ssl_version=None if version is None else resolve_ssl_version(version),
        ssl_minimum_version=settings.get("ssl_minimum_version"),
        ssl_maximum_version=settings.get("ssl_maximum_version"),
        cert_reqs=resolve_cert_reqs(settings.get("cert_reqs")),
    )
    certificate.pair.load_into(context)
    return context
