"""Client authentication at the token endpoint (RFC 6749 §2.3)."""

from __future__ import annotations

import base64
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
"""The supported methods, by their names in RFC 7591 §2."""


class ClientAuth(Protocol):
    """A method of client authentication. Immutable, so it can be used from any thread.

    :ivar method: the name of the method in RFC 7591 §2.
    """

    method: ClassVar[str]

    def authorization(self) -> str | None:
        """Return the value of the ``Authorization`` header, or ``None`` to send no such header."""
        ...

    def parameters(self) -> dict[str, str]:
        """Return the parameters that this method adds to the request."""
        ...

    def secrets(self) -> list[str]:
        """Return the texts that no message may show."""
        ...


class ClientSecretBasic:
    """``client_secret_basic``: the client password in HTTP Basic (RFC 6749 §2.3.1).

    :param client_id: the client identifier.
    :param client_secret: the client password.
    :param form_encode: whether to form-encode both parts before they are joined, as the RFC
        requires; ``True`` by default. A space becomes ``%20``, which every server decodes, rather
        than ``+``, which some do not. A few vendors expect both parts unencoded.
    :param send_client_id: whether to send ``client_id`` as a parameter too, for servers that read
        it there; ``False`` by default.
    """

    __slots__ = ("client_id", "client_secret", "form_encode", "send_client_id")

    method: ClassVar[str] = "client_secret_basic"

    def __init__(
        self,
        client_id: str,
        client_secret: str,
        form_encode: bool = True,
        send_client_id: bool = False,
    ) -> None:
        self.client_id: str = client_id
        self.client_secret: str = client_secret
        self.form_encode: bool = form_encode
        self.send_client_id: bool = send_client_id

    def authorization(self) -> str:
        """Return the header's value, which contains the secret."""
        return "Basic " + self._credentials()

    def parameters(self) -> dict[str, str]:
        """Return the identifier if it is sent beside the header."""
        return {"client_id": self.client_id} if self.send_client_id else {}

    def secrets(self) -> list[str]:
        """Return the secret, and the headers that contain it."""
        return _secrets(self.client_id, self.client_secret)

    def _credentials(self) -> str:
        return _basic(self.client_id, self.client_secret, self.form_encode)


class ClientSecretPost:
    """``client_secret_post``: the client password in the request's body (RFC 6749 §2.3.1)."""

    __slots__ = ("client_id", "client_secret")

    method: ClassVar[str] = "client_secret_post"

    def __init__(self, client_id: str, client_secret: str) -> None:
        self.client_id: str = client_id
        self.client_secret: str = client_secret

    def authorization(self) -> None:
        """Return ``None``: the secret is in the body."""

    def parameters(self) -> dict[str, str]:
        """Return the identifier and the secret."""
        return {"client_id": self.client_id, "client_secret": self.client_secret}

    def secrets(self) -> list[str]:
        """Return the secret, and the headers that a server may build from it."""
        return _secrets(self.client_id, self.client_secret)


class PublicClient:
    """``none``: a public client, identified by its ``client_id`` only (RFC 6749 §3.2.1)."""

    __slots__ = ("client_id",)

    method: ClassVar[str] = "none"

    def __init__(self, client_id: str) -> None:
        self.client_id: str = client_id

    def authorization(self) -> None:
        """Return ``None``: a public client does not authenticate."""

    def parameters(self) -> dict[str, str]:
        """Return the identifier."""
        return {"client_id": self.client_id}

    def secrets(self) -> list[str]:
        """Return an empty list: a public client has no secret."""
        return []


def client_auth(
    method: str,
    client_id: str,
    client_secret: str | None,
    *,
    form_encode: bool = True,
    send_client_id: bool = False,
) -> ClientAuth:
    """Return the client authentication with the name *method* (RFC 7591 §2).

    :param client_secret: the client password; ``none`` does not send it.
    :param form_encode: see :class:`ClientSecretBasic`; other methods ignore it.
    :param send_client_id: see :class:`ClientSecretBasic`; other methods always send it.
    :raises InvalidConfigurationError: for an unsupported method, and for an identifier or a secret
        that the method can't send.
    """
    checked_text(client_id, "client_id")
    if method not in AUTH_METHODS:
        raise InvalidConfigurationError(
            f"token_endpoint_auth_method {method!r} is not supported. "
            f"Use {', '.join(map(repr, AUTH_METHODS[:-1]))} or {AUTH_METHODS[-1]!r}.",
            field="token_endpoint_auth_method",
        )
    if method == "none":
        return PublicClient(client_id)
    if client_secret is None:
        raise InvalidConfigurationError(
            f"client_secret is missing. token_endpoint_auth_method {method!r} requires it; for a "
            "client without a secret, set token_endpoint_auth_method to 'none'.",
            field="client_secret",
        )
    checked_text(client_secret, "client_secret")
    if method == "client_secret_post":
        return ClientSecretPost(client_id, client_secret)
    if ":" in client_id and not form_encode:
        raise InvalidConfigurationError(
            "client_id must not contain a colon if it is not form-encoded (RFC 7617 §2).",
            field="client_id",
        )
    return ClientSecretBasic(client_id, client_secret, form_encode, send_client_id)


def encoding_advice(client: ClientAuth) -> str:
    """Return what to try if a server refuses *client*, or "" if the encoding can't be the reason.

    RFC 6749 §2.3.1 requires id and secret to be form-encoded before they are joined for HTTP Basic.
    Few servers decode them, so most refuse a secret with "+", "/" or "=", without saying why.
    """
    if not isinstance(client, ClientSecretBasic):
        return ""
    if all(quote(part, safe="") == part for part in (client.client_id, client.client_secret)):
        return ""
    return (
        "Form-encoding changes this id or secret, and not every server decodes it. Try "
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
