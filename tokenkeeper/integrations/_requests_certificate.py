"""``requests``: an adapter that presents a client's certificate to an API (RFC 8705 §3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests.adapters

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper.oauth.client_certificate import TlsClientAuth
from tokenkeeper.oauth.client_proof import ClientCertificate
from tokenkeeper.oauth.client_tls import tls_context

__all__ = ["CertificateAdapter"]


class CertificateAdapter(NotPicklable, requests.adapters.HTTPAdapter):
    """Presents the certificate of a client, with which its tokens are bound. Thread-safe.

    Mount it in place of setting ``session.cert``, whose files requests reads for each connection:
    while they are replaced it may find a certificate and a key that do not fit, and afterwards its
    open connections still present the old certificate, to which new tokens are not bound. This
    adapter presents what *client_auth* presents to the authorization server: the files are read
    for each request, and connections with an earlier certificate are not used again.

    :param client_auth: the client authentication of the provider.
    :param options: those of ``requests.adapters.HTTPAdapter``.
    """

    def __init__(self, client_auth: TlsClientAuth, **options: Any) -> None:
        self._client_auth = client_auth
        # Replaced in one assignment: the certificate, and a context for each set of settings.
        self._current: tuple[ClientCertificate, dict[str, Any]] | None = None
        super().__init__(**options)

    def build_connection_pool_key_attributes(
        self, request: Any, verify: Any, cert: Any = None
    ) -> Any:
        """Return the settings of a connection, with the context of the certificate."""
        host, settings = super().build_connection_pool_key_attributes(request, verify, None)
        return host, {**settings, "ssl_context": self._context(settings)}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Set the CA of a pool, whose context has the certificate already."""
        super().cert_verify(conn, url, verify, None)  # type: ignore[no-untyped-call]

    def _context(self, settings: Mapping[str, Any]) -> Any:
        certificate = self._client_auth.certificate()
        current = self._current
        if current is None or current[0].pair is not certificate.pair:
            current = self._current = certificate, {}
            self.close()  # only idle connections; requests opens new pools
        key = repr(sorted(settings.items()))
        context = current[1].get(key)
        if context is None:
            # Threads that make one at the same time agree on the first: it is in the pools' key.
            context = current[1].setdefault(key, tls_context(settings, certificate))
        return context
