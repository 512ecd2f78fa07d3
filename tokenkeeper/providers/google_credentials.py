"""What Google's credential files contain, and how each becomes a token.

A file is a key of a service account, or describes an external account: an identity of another
cloud or provider that Google trusts (workload identity federation). Without a file, the metadata
server of a machine at Google has the token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tokenkeeper._support.checks import checked_endpoint, checked_seconds, checked_text
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.signed_jwt import SignedJwt
from tokenkeeper.oauth.signing import SigningKey
from tokenkeeper.oauth.token_types import ACCESS_TOKEN, checked_token_type
from tokenkeeper.providers.google_client import CLOUD_PLATFORM, GoogleClient
from tokenkeeper.providers.google_subject import (
    ELSEWHERE,
    SubjectFile,
    SubjectUrl,
    object_in,
    subject_source_in,
    unfit,
)
from tokenkeeper.providers.grants.jwt_bearer import JwtBearer
from tokenkeeper.providers.grants.token_exchange import TokenExchange
from tokenkeeper.providers.this_machine import this_machine

__all__ = ["ExternalAccount", "GoogleCredentials", "MetadataServer", "ServiceAccount", "read_file"]

AUDIENCE = "https://oauth2.googleapis.com/token"
"""The audience of every assertion, whichever endpoint it is sent to."""

TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
UNIVERSE = "googleapis.com"
"""Where keys grant tokens. Other universes accept only JWTs that the key signs for each API."""

METADATA_HOST = "metadata.google.internal"
LIFETIME_SECONDS = 3600.0


class GoogleCredentials(Protocol):
    """Credentials that Google grants tokens for. Thread-safe."""

    @property
    def requests(self) -> int:
        """How many HTTP requests one token takes, one after the other."""
        ...

    def token(self, client: GoogleClient, scope: str | None, account: str | None) -> OAuth2Token:
        """Request a token.

        :param account: the user to act for, if not the service account itself.
        :raises OAuth2Error: if none is granted.
        """
        ...

    def describe(self) -> Mapping[str, object]:
        """Return its settings without a secret, by the names of ``Description``."""
        ...

    def identity(self) -> Mapping[str, object]:
        """Return what else than :meth:`describe` tells whose tokens these are."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ServiceAccount:
    """The key of a service account, which signs an assertion for each request."""

    email: str
    token_url: str
    key: Any = field(repr=False)
    requests: int = field(default=1, init=False)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ServiceAccount:
        """Return what the content of a key file says."""
        universe = content.get("universe_domain") or UNIVERSE
        if universe != UNIVERSE:
            raise unfit(f"has the universe_domain {universe!r}, not {UNIVERSE!r}. {ELSEWHERE}")
        url = checked_endpoint(content.get("token_uri", TOKEN_URL), "token_uri")
        email = checked_text(content.get("client_email"), "client_email")
        pem = content.get("private_key")
        if not isinstance(pem, str):
            raise unfit("has no private_key")
        key_id = content.get("private_key_id")
        if key_id is not None:
            checked_text(key_id, "private_key_id")
        key = SigningKey.of(pem, key_id=key_id, signing_alg="RS256")
        return cls(email, url, key)

    def token(self, client: GoogleClient, scope: str | None, account: str | None) -> OAuth2Token:
        """Present an assertion (RFC 7523 §2.1), which has the scope in it."""
        scope = scope or CLOUD_PLATFORM
        signed = SignedJwt(
            self.key,
            issuer=self.email,
            subject=account,
            audience=AUDIENCE,
            claims={"scope": scope},
            lifetime_seconds=LIFETIME_SECONDS,
            clock=client.clock,
        )
        form = {"grant_type": JwtBearer.grant_type, "assertion": signed()}
        sent = client.send("POST", self.token_url, data=form, secrets=[form["assertion"]])
        return client.token_in(sent, scope, JwtBearer.grant_type)

    def describe(self) -> Mapping[str, object]:
        """Return the account and the endpoint."""
        return {
            "token_url": self.token_url,
            "client_id": self.email,
            "grant_type": JwtBearer.grant_type,
        }

    def identity(self) -> Mapping[str, object]:
        """Return nothing else: the account says it all."""
        return {}


@dataclass(frozen=True, slots=True, eq=False)
class ExternalAccount:
    """An identity from elsewhere, whose token is exchanged for Google's (RFC 8693)."""

    audience: str
    subject_token_type: str
    token_url: str
    impersonation_url: str | None
    lifetime_seconds: float
    source: SubjectFile | SubjectUrl = field(repr=False)

    @property
    def requests(self) -> int:
        """One for the exchange, and those before and after it."""
        return 1 + isinstance(self.source, SubjectUrl) + (self.impersonation_url is not None)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> ExternalAccount:
        """Return what the content of an external account's file says."""
        for name in ("client_id", "workforce_pool_user_project"):
            if content.get(name):
                raise unfit(f"has {name}, which is not supported. {ELSEWHERE}")
        impersonation = content.get("service_account_impersonation_url")
        options = object_in(content, "service_account_impersonation")
        lifetime = options.get("token_lifetime_seconds") or LIFETIME_SECONDS
        kind = checked_text(content.get("subject_token_type"), "subject_token_type")
        return cls(
            checked_text(content.get("audience"), "audience"),
            checked_token_type(kind, "subject_token_type"),
            checked_endpoint(content.get("token_url"), "token_url"),
            checked_endpoint(impersonation, "service_account_impersonation_url")
            if impersonation
            else None,
            checked_seconds(lifetime, "token_lifetime_seconds"),
            subject_source_in(content.get("credential_source")),
        )

    def token(self, client: GoogleClient, scope: str | None, account: str | None) -> OAuth2Token:
        """Exchange the subject's token, and act as the service account if the file names one."""
        _check_no_user(client, account)
        scope = scope or CLOUD_PLATFORM
        subject = self.source.read(client)
        form = {
            "grant_type": TokenExchange.grant_type,
            "audience": self.audience,
            "scope": CLOUD_PLATFORM if self.impersonation_url else scope,
            "requested_token_type": ACCESS_TOKEN,
            "subject_token": subject,
            "subject_token_type": self.subject_token_type,
        }
        sent = client.send("POST", self.token_url, data=form, secrets=[subject])
        token = client.token_in(sent, form["scope"], TokenExchange.grant_type)
        if self.impersonation_url is None:
            return token
        return client.impersonate(
            self.impersonation_url, token.access_token, scope, self.lifetime_seconds, ()
        )

    def describe(self) -> Mapping[str, object]:
        """Return the endpoint, and whom it is for."""
        return {
            "token_url": self.token_url,
            "client_id": self.audience,
            "grant_type": TokenExchange.grant_type,
            "impersonation_url": self.impersonation_url,
        }

    def identity(self) -> Mapping[str, object]:
        """Return where the subject's token is: a pool has many subjects."""
        return {"subject_token": self.source.place}


@dataclass(frozen=True, slots=True, eq=False)
class MetadataServer:
    """The metadata server of a machine at Google, which grants tokens of its service account.

    :ivar account: the service account's address, or ``default``.
    """

    account: str
    requests: int = field(default=1, init=False)

    @property
    def url(self) -> str:
        """The address of the token, which ``GCE_METADATA_HOST`` may change."""
        host = os.environ.get("GCE_METADATA_HOST") or METADATA_HOST
        return f"http://{host}/computeMetadata/v1/instance/service-accounts/{self.account}/token"

    def token(self, client: GoogleClient, scope: str | None, account: str | None) -> OAuth2Token:
        """Return the token that the metadata server has."""
        _check_no_user(client, account)
        params = {"scopes": ",".join(scope.split(" "))} if scope else {}
        headers = {"Metadata-Flavor": "Google"}  # so that no other page's request is answered
        sent = client.send("GET", self.url, headers=headers, params=params)
        if sent.answer.ok and sent.answer.headers.get("metadata-flavor") != "Google":
            raise TokenAcquisitionError(
                f"provider {client.provider_name!r}: what answered is not Google's metadata "
                "server. Set credentials_file, or run on Google Cloud.",
                provider_name=client.provider_name,
                transient=False,
            )
        return client.token_in(sent, scope)

    def describe(self) -> Mapping[str, object]:
        """Return where the token comes from."""
        return {"token_url": self.url, "client_id": self.account}

    def identity(self) -> Mapping[str, object]:
        """Return the machine, if the account is its own: that is not another machine's."""
        return {"machine": this_machine()} if self.account == "default" else {}


def _check_no_user(client: GoogleClient, account: str | None) -> None:
    """Raise if a user was named, whom only the key of a service account can act for."""
    if account is not None:
        raise TokenAcquisitionError(
            f"provider {client.provider_name!r}: only the key of a service account can act for a "
            "user (domain-wide delegation). Leave out subject and account.",
            provider_name=client.provider_name,
            transient=False,
        )


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], GoogleCredentials]] = {
    "service_account": ServiceAccount.of,
    "external_account": ExternalAccount.of,
}


def read_file(text: str) -> GoogleCredentials:
    """Return the credentials in the *text* of a file.

    :raises InvalidConfigurationError: if there are none that can be used.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):  # its text quotes the file
        content = None
    if not isinstance(content, Mapping):
        raise unfit("is not a JSON object")
    kind = content.get("type")
    credentials_of = _KINDS.get(kind) if isinstance(kind, str) else None
    if credentials_of is None:
        raise unfit(f"has the type {kind!r}, not {' or '.join(map(repr, _KINDS))}. {ELSEWHERE}")
    try:
        return credentials_of(content)
    except InvalidConfigurationError as error:
        if str(error).startswith("credentials_file "):
            raise
        failure = InvalidConfigurationError(f"credentials_file: {error}", field="credentials_file")
    raise failure  # out here, so that it has no context
