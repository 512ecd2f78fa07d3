"""Where the endpoints of an authorization server are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.checks import shown_url
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client_proof import Recipient

if TYPE_CHECKING:
    from tokenkeeper.clock import Clock
    from tokenkeeper.models import OAuth2Config
    from tokenkeeper.oauth.transport import HttpTransport

__all__ = [
    "ConfiguredServer",
    "Endpoint",
    "NoEndpointError",
    "Server",
    "no_endpoint",
    "recipient",
    "server_of",
]

Endpoint = Literal[
    "authorization_endpoint",
    "backchannel_authentication_endpoint",
    "device_authorization_endpoint",
    "introspection_endpoint",
    "jwks_uri",
    "pushed_authorization_request_endpoint",
    "revocation_endpoint",
    "token_endpoint",
]
"""The endpoints that are used, by their names in RFC 8414 §2 and in the RFCs that add to it."""


class NoEndpointError(TokenAcquisitionError):
    """The server has no such endpoint, as far as is known. It is not the token endpoint."""


def no_endpoint(name: str, message: str, provider_name: str) -> TokenAcquisitionError:
    """Return the error for an endpoint that can't be found out.

    :param name: the endpoint. The error of a token endpoint is that of a token request.
    """
    kind = TokenAcquisitionError if name == "token_endpoint" else NoEndpointError
    return kind(message, provider_name=provider_name, transient=False)


class Server(Protocol):
    """An authorization server. Thread-safe."""

    @property
    def shown(self) -> str:
        """The server as messages name it: a URL without a secret. Makes no request."""
        ...

    def issuer(self) -> str | None:
        """Return the issuer identifier (RFC 8414 §2), or ``None`` if it is unknown.

        Makes no request.
        """
        ...

    def metadata(self) -> Mapping[str, Any] | None:
        """Return the server's metadata (RFC 8414 §2), or ``None`` if only its URLs are known.

        It may have to be requested first.

        :raises TokenAcquisitionError: if it can't be had.
        """
        ...

    def warn_if_unsupported(self, auth_method: str, grant_type: str | None) -> None:
        """Log a warning, once each, if the metadata says that the server lacks one of the two.

        Makes no request: metadata that was not read yet is not asked.
        """
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
        """Return ``None``: it is not configured."""

    def metadata(self) -> None:
        """Return ``None``: it is not read."""

    def warn_if_unsupported(self, auth_method: str, grant_type: str | None) -> None:
        """Do nothing: it is not known."""

    def endpoint(self, name: Endpoint, *, with_certificate: bool = False) -> str:
        """Return the configured URL."""
        config = self._config
        if name == "token_endpoint":
            return config.token_url
        if url := (config.endpoints or {}).get(name):
            return url
        raise no_endpoint(
            name,
            f"provider {config.provider_name!r}: the server's {name} is not known. Set it in "
            "endpoints, or set issuer in place of token_url.",
            config.provider_name,
        )


def recipient(server: Server, url: str) -> Recipient:
    """Return for whom a proof in a request to *url*, an endpoint of *server*, is meant."""
    return Recipient(url, server.endpoint("token_endpoint"), server.issuer())


def server_of(config: OAuth2Config, transport: HttpTransport, clock: Clock) -> Server:
    """Return the server of the registration *config*.

    :param transport: sends the requests for its metadata, if the configuration states an issuer.
    :param clock: the source of time.
    """
    if config.issuer is None:
        return ConfiguredServer(config)
    with forks_wait():
        from tokenkeeper.oauth.metadata import DiscoveredServer  # few registrations need it

    return DiscoveredServer(config, config.issuer, transport, clock)
