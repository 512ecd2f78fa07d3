"""Client authentication at the token endpoint (RFC 6749 §2.3)."""

from __future__ import annotations

import base64
from functools import partial
from typing import Protocol, cast
from urllib.parse import quote

from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_proof import ClientProof, Recipient
from tokenkeeper.oauth.exchange import LateSecrets

__all__ = [
    "SECRET_METHODS",
    "ClientAuth",
    "ClientSecretBasic",
    "ClientSecretPost",
    "PublicClient",
    "client_auth",
    "client_auth_of",
    "encoding_advice",
    "refusal_advice",
    "secrets_of",
]

SECRET_METHODS = ("client_secret_basic", "client_secret_post", "none")
"""The methods that need a secret at most, by their names in RFC 7591 §2."""


class ClientAuth(Protocol):
    """A method of client authentication. Thread-safe.

    :ivar method: the name of the method in RFC 7591 §2.
    """

    @property
    def method(self) -> str:
        """The name of the method in RFC 7591 §2."""
        ...

    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return what one request carries. Called for each request, on a worker's thread.

        :raises TokenAcquisitionError: if there is no proof, for example because a file is missing.
        """
        ...


class ClientSecretBasic:
    """``client_secret_basic``: the client password in HTTP Basic (RFC 6749 §2.3.1).

    :param client_secret: the client password.
    :param form_encode: whether to form-encode both parts before they are joined, as the RFC
        requires; ``True`` by default. A space becomes ``%20``, which every server decodes, rather
        than ``+``, which some do not. A few vendors expect both parts unencoded.
    :param send_client_id: whether to send ``client_id`` as a parameter too, for servers that read
        it there; ``False`` by default.
    """

    __slots__ = ("_secret", "form_encode", "send_client_id")

    method: str = "client_secret_basic"

    def __init__(
        self, client_secret: str, *, form_encode: bool = True, send_client_id: bool = False
    ) -> None:
        self._secret = checked_text(client_secret, "client_secret")
        self.form_encode: bool = form_encode
        self.send_client_id: bool = send_client_id

    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return the header, and the identifier if it is sent beside the header."""
        return ClientProof(
            {"client_id": client_id} if self.send_client_id else {},
            "Basic " + _basic(client_id, self._secret, self.form_encode),
            hidden=LateSecrets(partial(secrets_of, client_id, self._secret)),
        )

    def is_changed_by_encoding(self, client_id: str) -> bool:
        """Return whether form-encoding changes the identifier or the secret."""
        return any(quote(part, safe="") != part for part in (client_id, self._secret))


class ClientSecretPost:
    """``client_secret_post``: the client password in the request's body (RFC 6749 §2.3.1).

    :param client_secret: the client password.
    """

    __slots__ = ("_secret",)

    method: str = "client_secret_post"

    def __init__(self, client_secret: str) -> None:
        self._secret = checked_text(client_secret, "client_secret")

    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return the identifier and the secret."""
        return ClientProof(
            {"client_id": client_id, "client_secret": self._secret},
            hidden=LateSecrets(partial(secrets_of, client_id, self._secret)),
        )


class PublicClient:
    """``none``: a public client, identified by its ``client_id`` only (RFC 6749 §3.2.1)."""

    __slots__ = ()

    method: str = "none"

    def prove(self, client_id: str, recipient: Recipient) -> ClientProof:
        """Return the identifier."""
        return ClientProof({"client_id": client_id})


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
    if method not in SECRET_METHODS:
        raise InvalidConfigurationError(
            f"token_endpoint_auth_method {method!r} is not supported. "
            f"Use {', '.join(map(repr, SECRET_METHODS[:-1]))} or {SECRET_METHODS[-1]!r}.",
            field="token_endpoint_auth_method",
        )
    if method == "none":
        return PublicClient()
    if client_secret is None:
        raise InvalidConfigurationError(
            f"client_secret is missing. token_endpoint_auth_method {method!r} requires it; for a "
            "client without a secret, set token_endpoint_auth_method to 'none'.",
            field="client_secret",
        )
    if method == "client_secret_post":
        return ClientSecretPost(client_secret)
    if ":" in client_id and not form_encode:
        raise InvalidConfigurationError(
            "client_id must not contain a colon if it is not form-encoded (RFC 7617 §2).",
            field="client_id",
        )
    return ClientSecretBasic(client_secret, form_encode=form_encode, send_client_id=send_client_id)


def client_auth_of(
    given: object,
    method: str | None,
    client_id: str,
    client_secret: str | None,
    *,
    form_encode: bool = True,
    send_client_id: bool = False,
) -> ClientAuth:
    """Return the client authentication of a provider: *given*, or the one called *method*.

    :raises InvalidConfigurationError: if both are given, or one can't work.
    """
    if given is None:
        return client_auth(
            method or "client_secret_basic",
            client_id,
            client_secret,
            form_encode=form_encode,
            send_client_id=send_client_id,
        )
    checked_text(client_id, "client_id")
    if isinstance(given, type) or not callable(getattr(given, "prove", None)):
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        problem = f"client_auth must be a ClientAuth, such as PrivateKeyJwt(...), not {what}"
    elif method is not None:
        problem = (
            f"client_auth can't be combined with token_endpoint_auth_method, which "
            f"{type(given).__name__} sets"
        )
    elif client_secret is not None:
        problem = (
            f"client_auth can't be combined with client_secret, which {type(given).__name__} does "
            "not send. Remove it from the OAuth2Config"
        )
    else:
        return cast("ClientAuth", given)
    raise InvalidConfigurationError(problem, field="client_auth")


def encoding_advice(client: ClientAuth, client_id: str) -> str:
    """Return what to try if a server refuses *client*, or "" if the encoding can't be the reason.

    RFC 6749 §2.3.1 requires id and secret to be form-encoded before they are joined for HTTP Basic.
    Few servers decode them, so most refuse a secret with "+", "/" or "=", without saying why.
    """
    if not isinstance(client, ClientSecretBasic) or not client.is_changed_by_encoding(client_id):
        return ""
    return (
        "Form-encoding changes this id or secret, and not every server decodes it. Try "
        f"form_encode_credentials={not client.form_encode}, or "
        'token_endpoint_auth_method="client_secret_post".'
    )


def refusal_advice(client: ClientAuth, client_id: str, usual: str) -> str:
    """Return what to try if a server refuses *client*.

    A client authentication without a secret has advice of its own: a method ``refusal_advice``.
    Other clients get the *usual* advice, which is about the secret.
    """
    own = getattr(client, "refusal_advice", None)
    if callable(own):
        return str(own(client_id))
    return " ".join(filter(None, [usual, encoding_advice(client, client_id)]))


def secrets_of(client_id: str, client_secret: str) -> list[str]:
    """Return *client_secret*, and the headers that a server may build from it."""
    return [client_secret, *(_basic(client_id, client_secret, form) for form in (True, False))]


def _basic(client_id: str, client_secret: str, form_encode: bool) -> str:
    parts = [client_id, client_secret]
    if form_encode:
        parts = [quote(part, safe="") for part in parts]
    return base64.b64encode(":".join(parts).encode()).decode()
