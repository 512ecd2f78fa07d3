"""How a client proves who it is to the token endpoint (RFC 6749 §2.3)."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import ClassVar, Protocol
from urllib.parse import quote

from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = [
    "AUTH_METHODS",
    "ClientAuth",
    "ClientSecretBasic",
    "ClientSecretPost",
    "PublicClient",
    "client_auth",
    "encoding_advice",
]

AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
"""The methods that are supported, by their names in RFC 7591 §2."""


class ClientAuth(Protocol):
    """A method of client authentication. Immutable, so used from any thread.

    :ivar method: its name in RFC 7591 §2.
    """

    method: ClassVar[str]

    def authorization(self) -> str | None:
        """Return the ``Authorization`` header, if this method has one."""
        ...

    def parameters(self) -> dict[str, str]:
        """Return what this method adds to the request's body."""
        ...

    def secrets(self) -> list[str]:
        """Return what must never be shown."""
        ...


@dataclass(frozen=True, slots=True)
class ClientSecretBasic:
    """``client_secret_basic``: the client password by HTTP Basic (RFC 6749 §2.3.1).

    :param send_client_id: send the ``client_id`` as a parameter too, for servers that look for it
        there.
    :param form_encode: encode both parts as a form does before they are joined, as the RFC wants.
        A space becomes ``%20``, which all servers read, and not ``+``, which some do not. A few
        vendors want both parts as they are.
    """

    client_id: str
    client_secret: str = field(repr=False)
    form_encode: bool = True
    send_client_id: bool = False

    method: ClassVar[str] = "client_secret_basic"

    def authorization(self) -> str:
        """Return the header; it holds the secret."""
        return "Basic " + self._credentials()

    def parameters(self) -> dict[str, str]:
        """Return the identifier, if it is to be sent beside the header."""
        return {"client_id": self.client_id} if self.send_client_id else {}

    def secrets(self) -> list[str]:
        """Return the secret, and the headers that it can be read from."""
        return _secrets(self.client_id, self.client_secret)

    def _credentials(self) -> str:
        return _basic(self.client_id, self.client_secret, self.form_encode)


@dataclass(frozen=True, slots=True)
class ClientSecretPost:
    """``client_secret_post``: the client password in the request's body (RFC 6749 §2.3.1)."""

    client_id: str
    client_secret: str = field(repr=False)

    method: ClassVar[str] = "client_secret_post"

    def authorization(self) -> None:
        """Return nothing: this method is all body."""

    def parameters(self) -> dict[str, str]:
        """Return identifier and secret."""
        return {"client_id": self.client_id, "client_secret": self.client_secret}

    def secrets(self) -> list[str]:
        """Return the secret, and the headers that a server may make of it."""
        return _secrets(self.client_id, self.client_secret)


@dataclass(frozen=True, slots=True)
class PublicClient:
    """``none``: a client without a secret, known by its identifier alone (RFC 6749 §3.2.1)."""

    client_id: str

    method: ClassVar[str] = "none"

    def authorization(self) -> None:
        """Return nothing: there is nothing to prove."""

    def parameters(self) -> dict[str, str]:
        """Return the identifier."""
        return {"client_id": self.client_id}

    def secrets(self) -> list[str]:
        """Return nothing: there is no secret."""
        return []


def client_auth(
    method: str,
    client_id: str,
    client_secret: str | None,
    *,
    form_encode: bool = True,
    send_client_id: bool = False,
) -> ClientAuth:
    """Return the method that RFC 7591 §2 calls *method*.

    :param client_secret: not sent by ``none``.
    :raises InvalidConfigurationError: for a method that is not supported, and for an identifier or
        a secret that can't be sent by it.
    """
    checked_text(client_id, "client_id")
    if method not in AUTH_METHODS:
        raise InvalidConfigurationError(
            f"token_endpoint_auth_method {method!r} is not supported: "
            f"use {', '.join(map(repr, AUTH_METHODS[:-1]))} or {AUTH_METHODS[-1]!r}",
            field="token_endpoint_auth_method",
        )
    if method == "none":
        return PublicClient(client_id)
    if client_secret is None:
        raise InvalidConfigurationError(
            f"client_secret is missing: token_endpoint_auth_method {method!r} needs it; "
            "a client without a secret uses 'none'",
            field="client_secret",
        )
    checked_text(client_secret, "client_secret")
    if method == "client_secret_post":
        return ClientSecretPost(client_id, client_secret)
    if ":" in client_id and not form_encode:
        raise InvalidConfigurationError(
            "client_id must not contain a colon where it is not form-encoded (RFC 7617 §2)",
            field="client_id",
        )
    return ClientSecretBasic(client_id, client_secret, form_encode, send_client_id)


def encoding_advice(client: ClientAuth) -> str:
    """Return what to try where a server refuses *client*, if its encoding may be to blame.

    RFC 6749 §2.3.1 wants id and secret form-encoded before they are joined for HTTP Basic. Few
    servers decode them, so a secret with "+", "/" or "=" fails at most, and none says why.
    """
    if not isinstance(client, ClientSecretBasic):
        return ""
    if all(quote(part, safe="") == part for part in (client.client_id, client.client_secret)):
        return ""
    return (
        "Form-encoding changes this id or secret, and servers differ in how they read it: try "
        f"form_encode_credentials={not client.form_encode}, or "
        'token_endpoint_auth_method="client_secret_post".'
    )


def _basic(client_id: str, client_secret: str, form_encode: bool) -> str:
    parts = [client_id, client_secret]
    if form_encode:
        parts = [quote(part, safe="") for part in parts]
    return base64.b64encode(":".join(parts).encode()).decode()


def _secrets(client_id: str, client_secret: str) -> list[str]:
    return [client_secret, *(_basic(client_id, client_secret, form) for form in (True, False))]
