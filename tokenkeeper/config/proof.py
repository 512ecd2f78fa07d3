"""Makes what a client proves itself with, and what it presents, from the keys of a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenkeeper.config.combinations import auth_method_of
from tokenkeeper.config.files import located
from tokenkeeper.config.keeper_tokens import KeeperTokens
from tokenkeeper.config.late_tokens import late_token
from tokenkeeper.config.sign_in import SIGN_IN_GRANTS, sign_in_grant
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_auth import SECRET_METHODS

if TYPE_CHECKING:
    from tokenkeeper.oauth.client_auth import ClientAuth
    from tokenkeeper.oauth.late_text import LateText
    from tokenkeeper.providers.grants.base import Grant

__all__ = [
    "MANAGED_IDENTITY",
    "Given",
    "azure_credentials",
    "generic_options",
    "identity_of",
    "needs_secret",
]

MANAGED_IDENTITY = "azure_managed_identity"
"""The kind of provider that a block of the kind ``azure`` with a managed identity describes."""


@dataclass(frozen=True)
class Given:
    """What a provider is made from beside its keys.

    :ivar secrets: its secrets by key, those in files included.
    :ivar directory: where relative paths begin.
    :ivar tokens: where it gets the tokens of other providers.
    """

    secrets: Mapping[str, str] = field(repr=False)
    directory: Path
    tokens: KeeperTokens = field(default_factory=KeeperTokens, repr=False)

    def file(self, content: Mapping[str, Any], key: str) -> Path | None:
        """Return the path that *content* has under *key*."""
        name = content.get(key)
        return None if name is None else located(self.directory, name)


def needs_secret(content: Mapping[str, Any]) -> bool:
    """Return whether the client's registration holds its secret, and sends it as it is."""
    return auth_method_of(content) in SECRET_METHODS


def generic_options(content: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """Return the arguments of ``GenericOAuth2Provider`` that prove who the client is, and why.

    :raises InvalidConfigurationError: naming the key that can't work.
    """
    options = _dpop(content, given)
    auth, grant = _client_auth(content, given), _grant(content, given)
    if auth is not None:
        options["client_auth"] = auth
    elif content.get("token_endpoint_auth_method") is not None:
        options["token_endpoint_auth_method"] = content["token_endpoint_auth_method"]
    grant_type = content.get("grant_type") or content.get("grant")
    if grant is not None:
        options["grant"] = grant
    elif grant_type is not None:
        options["grant_type"] = grant_type
    return options


def azure_credentials(content: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """Return the arguments of ``AzureADProvider`` for the credentials that are not a secret."""
    files = {
        key: given.file(content, key)
        for key in ("certificate_file", "federated_token_file")
        if content.get(key) is not None
    }
    password = given.secrets.get("certificate_password")
    return {
        **files,
        **({} if password is None else {"certificate_password": password}),
    }


def identity_of(value: bool | str) -> dict[str, str]:
    """Return the argument of ``ManagedIdentityProvider`` for ``managed_identity``.

    :param value: ``True`` for the host's own identity, or the client id or the Azure resource id
        of another one.
    """
    if isinstance(value, bool):
        return {}
    return {"resource_id" if value.startswith("/") else "client_id": value}


def _client_auth(content: Mapping[str, Any], given: Given) -> ClientAuth | None:
    """Return how the client of a generic block authenticates; ``None`` with its secret, or none.

    :raises InvalidConfigurationError: naming the key that can't work.
    """
    method = auth_method_of(content)
    if method in SECRET_METHODS:
        return None
    if method in ("tls_client_auth", "self_signed_tls_client_auth"):
        from tokenkeeper.oauth.client_certificate import TlsClientAuth

        return TlsClientAuth(
            str(given.file(content, "certificate_file")),
            _text(given.file(content, "certificate_key_file")),
            self_signed=method == "self_signed_tls_client_auth",
        )
    from tokenkeeper.oauth.client_assertions import (
        ClientAssertion,
        ClientSecretJwt,
        PrivateKeyJwt,
    )

    file = given.file(content, "client_assertion_file")
    if file is not None:
        return ClientAssertion(file)
    audience = content.get("client_assertion_audience") or None
    if method == "client_secret_jwt":
        algorithm = content.get("signing_alg") or "HS256"
        secret = given.secrets["client_secret"]
        return ClientSecretJwt(secret, signing_alg=algorithm, audience=audience)
    return PrivateKeyJwt(
        private_key_file=given.file(content, "private_key_file"),
        password=given.secrets.get("private_key_password"),
        key_id=content.get("key_id"),
        signing_alg=content.get("signing_alg"),
        certificate_file=given.file(content, "certificate_file"),
        audience=audience,
    )


def _grant(content: Mapping[str, Any], given: Given) -> Grant | None:
    """Return the grant of a generic block; ``None`` for one that its name is enough for.

    :raises InvalidConfigurationError: naming the key that can't work.
    """
    grant = content.get("grant")
    if grant == "token_exchange":
        from tokenkeeper.providers.grants.token_exchange import TokenExchange

        types = ("subject_token_type", "actor_token_type", "requested_token_type")
        options = {key: content[key] for key in types if content.get(key) is not None}
        return TokenExchange(
            _late(content, "subject_token", given),
            actor=_late(content, "actor_token", given),
            **options,
        )
    if grant == "jwt_bearer":
        from tokenkeeper.providers.grants.jwt_bearer import JwtBearer

        return JwtBearer(_assertion(content["assertion"], given))
    if grant == "password":
        from tokenkeeper.providers.grants.password import Password

        return Password(content["username"], given.secrets["password"])
    if grant in SIGN_IN_GRANTS:
        return sign_in_grant(content, lambda key: _late(content, key, given))
    file = given.file(content, "refresh_token_file")
    if file is not None:
        from tokenkeeper.providers.grants.refresh_token import RefreshToken

        return RefreshToken(file, scope_by_refresh=bool(content.get("scope_by_refresh")))
    return None


def _dpop(content: Mapping[str, Any], given: Given) -> dict[str, Any]:
    """Return the options of a generic provider that bind its tokens to a key (RFC 9449)."""
    value = content.get("dpop")
    options = {} if content.get("allow_bearer") is None else {"allow_bearer": True}
    if value is None or isinstance(value, bool):
        return {"dpop": value, **options} if value else {}
    from tokenkeeper.oauth.dpop import DPoPKey

    with _at("dpop"):
        key = DPoPKey(private_key_file=located(given.directory, value))
    return {"dpop": key, **options}


def _late(content: Mapping[str, Any], key: str, given: Given) -> Any:
    """Return what the value of *key* is read from, or the text itself where that is allowed."""
    value = content.get(key)
    if value is None or isinstance(value, str):
        return value
    return late_token(value, given.directory, given.tokens)


def _assertion(value: Mapping[str, Any], given: Given) -> LateText:
    """Return a late text that reads the assertion of a JWT bearer grant, or signs it."""
    if "private_key_file" not in value:
        return late_token(value, given.directory, given.tokens)
    from tokenkeeper.oauth.signed_jwt import SignedJwt
    from tokenkeeper.oauth.signing import SigningKey

    names = ("subject", "audience", "claims", "lifetime_seconds")
    options = {name: value[name] for name in names if value.get(name) is not None}
    with _at("assertion", inside=True):
        key = SigningKey.of(
            private_key_file=given.file(value, "private_key_file"),
            password=given.secrets.get("assertion.private_key_password"),
            key_id=value.get("key_id"),
            signing_alg=value.get("signing_alg"),
        )
        return SignedJwt(key, issuer=value["issuer"], **options)


@contextmanager
def _at(key: str, *, inside: bool = False) -> Iterator[None]:
    """Report errors within the ``with`` block at *key* of a block.

    :param inside: whether the parameter of that name is a key inside of it; ``False`` by default.
    """
    try:
        yield
    except InvalidConfigurationError as error:
        what = str(error).removeprefix(f"{error.field} ")
        place = f"{key}.{error.field}" if inside and error.field else key
        failure = InvalidConfigurationError(f"{place} {what}", field=place)
    else:
        return
    raise failure  # out here, so that it has no context


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
