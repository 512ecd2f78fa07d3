"""Where the endpoints of an authorization server are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from tokenkeeper._support.checks import shown_url
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client_proof import Recipient

if TYPE_CHECKING:
    from tokenkeeper.models import OAuth2Config

__all__ = ["ConfiguredServer", "Endpoint", "Server", "recipient", "server_of"]

Endpoint = Literal[
    "authorization_endpoint",
    "backchannel_authentication_endpoint",
    "device_authorization_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
    "revocation_endpoint",
    "token_endpoint",
]
"""The endpoints that are used, by their names in RFC 8414 §2 and in the RFCs that add to it."""


class Server(Protocol):
    """An authorization server. Thread-safe."""

    @property
    def shown(self) -> str:
        """The server as messages name it: a URL without a secret. Makes no request."""
        ...

    def issuer(self) -> str | None:
        """Return the issuer identifier (RFC 8414 §2), or ``None`` if it is unknown."""
        ...

    def endpoint(self, name: Endpoint, *, with_certificate: bool = False) -> str:
        """Return the URL of an endpoint. It may have to be requested first.

        :param with_certificate: whether the request is sent with a client's certificate, for which
            a server may have other URLs (RFC 8705 §5); ``False`` by default.
        :raises TokenAcquisitionError: if it can't be found out, or if the server has none.
        """
        ...


class ConfiguredServer:
    """A server whose endpoints the configuration states. Immutable.

    :param config: the registration of a client of the server.
    """

    __slots__ = ("_config",)

    def __init__(self, config: OAuth2Config) -> None:
        self._config = config

    @property
    def shown(self) -> str:
        """The token endpoint, without a secret."""
        return shown_url(self._config.token_url)

    def issuer(self) -> None:
        """Return ``None``: only metadata states it."""

    def endpoint(self, name: Endpoint, *, with_certificate: bool = False) -> str:
        """Return the configured URL."""
        if name == "token_endpoint":
            return self._config.token_url
        raise TokenAcquisitionError(
            f"provider {self._config.provider_name!r}: the server's {name} is not known",
            provider_name=self._config.provider_name,
            transient=False,
        )


def recipient(server: Server, url: str) -> Recipient:
    """Return for whom a proof in a request to *url*, an endpoint of *server*, is meant."""
    return Recipient(url, server.endpoint("token_endpoint"), server.issuer())


def server_of(config: OAuth2Config) -> Server:
    """Return the server of the registration *config*."""
    return ConfiguredServer(config)
