"""What an application shows Microsoft Entra ID to prove which one it is: exactly one of four."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.checks import checked_switch, checked_text
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_auth import secrets_of
from tokenkeeper.oauth.late_text import LateText, checked_late_text, read_late

__all__ = ["EntraCredential", "FederatedCredential", "SecretCredential", "entra_credential"]


class EntraCredential(Protocol):
    """A credential of an application. Thread-safe.

    :ivar method: the name of the client authentication in RFC 7591 §2.
    """

    @property
    def method(self) -> str:
        """The name of the client authentication in RFC 7591 §2."""
        ...

    def for_msal(self, token_endpoint: Callable[[], str], *, is_adfs: bool) -> Any:
        """Return the ``client_credential`` of msal.

        :param token_endpoint: returns the endpoint that an assertion is meant for.
        :param is_adfs: whether the server is AD FS, which understands less than Entra ID.
        """
        ...

    def secrets(self) -> list[str]:
        """Return the texts that no message may show, beside those in the request."""
        ...

    def describe(self) -> Mapping[str, object]:
        """Return its settings, without a secret."""
        ...


class SecretCredential:
    """A client secret, in the request's body (RFC 6749 §2.3.1)."""

    __slots__ = ("_client_id", "_secret")

    method: str = "client_secret_post"

    def __init__(self, client_id: str, client_secret: str) -> None:
        self._client_id = client_id
        self._secret = client_secret

    def for_msal(self, token_endpoint: Callable[[], str], *, is_adfs: bool) -> str:
        """Return the secret."""
        return self._secret

    def secrets(self) -> list[str]:
        """Return the secret, and the headers that a server may build from it."""
        return secrets_of(self._client_id, self._secret)

    def describe(self) -> Mapping[str, object]:
        """Return nothing: there is only the secret."""
        return {}


class FederatedCredential:
    """A token of another identity provider that the application trusts (RFC 7523 §2.2).

    It is read for each request: Kubernetes replaces its projected tokens long before they expire,
    and one that is kept may have expired.

    :param source: a file, or a callable that returns the token.
    :param field: the option that it comes from.
    """

    __slots__ = ("_field", "_source")

    method: str = "client_assertion"

    def __init__(self, source: LateText, field: str) -> None:
        self._source = source
        self._field = field

    def for_msal(self, token_endpoint: Callable[[], str], *, is_adfs: bool) -> dict[str, Any]:
        """Return a callable that reads the token."""
        return {"client_assertion": lambda: read_late(self._source, self._field)}

    def secrets(self) -> list[str]:
        """Return nothing: the token is in the request."""
        return []

    def describe(self) -> Mapping[str, object]:
        """Return the path of the file, if it is one."""
        if isinstance(self._source, os.PathLike):
            return {"federated_token_file": os.fspath(self._source)}
        return {}


def entra_credential(
    client_id: str,
    client_secret: str | None,
    certificate: tuple[str | os.PathLike[str] | None, str | None, bool],
    federated: tuple[str | os.PathLike[str] | None, LateText | None],
    clock: Clock,
) -> EntraCredential:
    """Return the credential that the options of a provider describe.

    :param certificate: ``certificate_file``, ``certificate_password`` and ``send_x5c``.
    :param federated: ``federated_token_file`` and ``client_assertion``.
    :raises InvalidConfigurationError: unless exactly one is given, and it can work.
    """
    certificate_file, certificate_password, send_x5c = certificate
    federated_token_file, client_assertion = federated
    given = {
        "client_secret": client_secret,
        "certificate_file": certificate_file,
        "federated_token_file": federated_token_file,
        "client_assertion": client_assertion,
    }
    names = [name for name, value in given.items() if value is not None]
    if not names:
        raise InvalidConfigurationError(
            "client_secret is missing. Set it, or certificate_file, federated_token_file or "
            "client_assertion in its place.",
            field="client_secret",
        )
    if len(names) > 1:
        raise InvalidConfigurationError(
            f"{names[1]} can't be combined with {names[0]}: an application has one credential. "
            "Remove one of them.",
            field=names[1],
        )
    _check_belongings(certificate_file, certificate_password, send_x5c)
    if client_secret is not None:
        return SecretCredential(client_id, checked_text(client_secret, "client_secret"))
    if certificate_file is not None:
        with forks_wait():  # with cryptography, which most applications do not need
            from tokenkeeper.providers.azure_certificate import CertificateCredential
        return CertificateCredential(
            client_id, certificate_file, certificate_password, send_x5c, clock
        )
    if federated_token_file is not None:
        path = _checked_path(federated_token_file, "federated_token_file")
        return FederatedCredential(path, "federated_token_file")
    source = checked_late_text(client_assertion, "client_assertion")
    return FederatedCredential(source, "client_assertion")


def _check_belongings(certificate_file: object, password: object, send_x5c: object) -> None:
    """Raise if an option of a certificate is set, and there is none."""
    is_sent = checked_switch(send_x5c, "send_x5c")
    if certificate_file is not None:
        return
    field = "certificate_password" if password is not None else "send_x5c" if is_sent else None
    if field is not None:
        raise InvalidConfigurationError(
            f"{field} needs a certificate. Set certificate_file, or remove it.", field=field
        )


def _checked_path(value: object, field: str) -> Path:
    """Return *value* as a path."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    return Path(checked_text(path, field))
