"""The keys that a block of a configuration accepts, and the provider that it describes."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, create_model

from tokenkeeper._support.checks import checked_words
from tokenkeeper.config.construction import construct
from tokenkeeper.config.custody import custody_of
from tokenkeeper.config.files import located
from tokenkeeper.config.keys import spelled
from tokenkeeper.config.proof import (
    MANAGED_IDENTITY,
    Given,
    azure_credentials,
    generic_options,
    identity_of,
    needs_secret,
)
from tokenkeeper.config.values import (
    Accept,
    AuthMethod,
    Boolean,
    Endpoint,
    Endpoints,
    Grant,
    GrantType,
    Headers,
    Host,
    Parameters,
    Port,
    Positive,
    Scope,
    Seconds,
    SwitchOrText,
    Targets,
    Tenant,
    Tenants,
    Text,
    Verify,
    Whole,
    Words,
)
from tokenkeeper.models import OAuth2Config
from tokenkeeper.oauth.request_style import RequestFormat
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.kinds import parameters_of, provider_class
from tokenkeeper.retry import RetryPolicy

__all__ = ["Azure", "Block", "Client", "Generic", "Retry"]


class _Strict(BaseModel):
    """A block that accepts only its own keys, and whose errors do not show values."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True
    )


if TYPE_CHECKING:

    class Retry(_Strict):
        """The fields of ``RetryPolicy``."""

else:
    _kinds = {int: Whole, float: Seconds}
    _hints = typing.get_type_hints(RetryPolicy)
    Retry = create_model(
        "Retry",
        __base__=_Strict,
        **{each.name: (_kinds[_hints[each.name]], None) for each in fields(RetryPolicy)},
    )


class Block(_Strict):
    """The description of one provider. Immutable; equal blocks make equal providers."""

    provider_name: Text
    provider_type: str
    client_secret: Text | None = None
    client_secret_file: Text | None = None
    buffer_seconds: Seconds | None = spelled("buffer_seconds")
    verify: Verify = None
    retry: Retry | None = None

    def __repr__(self) -> str:  # values may be secrets
        return f"<{type(self).__name__} {self.provider_name!r} of type {self.provider_type!r}>"

    __str__ = __repr__

    def content(self) -> dict[str, Any]:
        """Return the keys that are set, with their values."""
        keys = type(self).model_fields
        return {key: value for key in keys if (value := getattr(self, key)) is not None}

    def make_provider(self, given: Given) -> BaseOAuth2Provider:
        """Return a new provider."""
        raise NotImplementedError

    def _made(self, arguments: dict[str, Any]) -> BaseOAuth2Provider:
        """Return a provider that is made with *arguments* and the keys of a custom class."""
        own = _copied(self.model_extra or {})
        return construct(self.provider_type, self.provider_name, arguments | own)

    def _options(self, directory: Path) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.buffer_seconds is not None:
            options["buffer_seconds"] = self.buffer_seconds
        if self.retry is not None:
            options["retry"] = RetryPolicy(**self.retry.model_dump(exclude_unset=True))
        if self.verify is not None:
            verify = self.verify
            options["verify"] = located(directory, verify) if isinstance(verify, str) else verify
        return options


class Client(Block):
    """A block for one of our own kinds, or for a class derived from one."""

    options: ClassVar[tuple[str, ...]] = ("connect_timeout", "read_timeout", "total_timeout")
    """Keys that become arguments of the same name."""

    client_id: Text | None = None
    scope: Scope = spelled("scope")
    connect_timeout: Positive | None = None
    read_timeout: Positive | None = None
    total_timeout: Positive | None = None

    def _options(self, directory: Path) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self.options}
        options = {name: value for name, value in given.items() if value is not None}
        return options | super()._options(directory)


class Azure(Client):
    """A block for ``AzureADProvider``."""

    tenant_id: Tenant | None = None  # a managed identity needs neither this nor a client_id
    authority: Host | None = None
    allowed_tenants: Tenants = None
    certificate_file: Text | None = None
    certificate_password: Text | None = None
    certificate_password_file: Text | None = None
    send_x5c: Boolean | None = None
    federated_token_file: Text | None = None
    managed_identity: SwitchOrText = None
    region: Text | None = None
    client_capabilities: Words = None

    options: ClassVar[tuple[str, ...]] = (
        *Client.options,
        "authority",
        "allowed_tenants",
        "send_x5c",
        "region",
        "client_capabilities",
    )

    def make_provider(self, given: Given) -> BaseOAuth2Provider:
        """Return a new provider: of a managed identity, if the block says so."""
        if self.managed_identity and self.provider_type == "azure":
            return self._identity_provider(given)
        takes = parameters_of(provider_class(self.provider_type)).names
        # The constructor of a derived class may still have the older spelling.
        scope = "scopes" if "scopes" in takes and "scope" not in takes else "scope"
        arguments = {
            "provider_name": self.provider_name,
            "client_id": self.client_id,
            "client_secret": given.secrets.get("client_secret"),
            "tenant_id": self.tenant_id,
            scope: self.scope,
        }
        credentials = azure_credentials(self.content(), given)
        return self._made(arguments | credentials | self._options(given.directory))

    def _identity_provider(self, given: Given) -> BaseOAuth2Provider:
        arguments = {"provider_name": self.provider_name, "scope": self.scope}
        arguments |= identity_of(self.managed_identity) | self._options(given.directory)
        return construct(MANAGED_IDENTITY, self.provider_name, arguments)


class Generic(Client):
    """A block for ``GenericOAuth2Provider``."""

    client_id: Text
    token_url: Endpoint | None = None
    issuer: Endpoint | None = None
    endpoints: Endpoints = None
    additional_params: Parameters = None
    resource: Targets = None
    audience: Targets = None
    token_endpoint_auth_method: AuthMethod | None = None
    private_key_file: Text | None = None
    private_key_password: Text | None = None
    private_key_password_file: Text | None = None
    key_id: Text | None = None
    signing_alg: Text | None = None
    client_assertion_file: Text | None = None
    client_assertion_audience: Words = None
    certificate_file: Text | None = None
    certificate_key_file: Text | None = None
    dpop: SwitchOrText = None
    allow_bearer: Boolean | None = None
    send_client_id: Boolean | None = None
    form_encode_credentials: Boolean | None = None
    grant: Grant | None = None
    grant_type: GrantType | None = None
    subject_token: Any = None
    subject_token_type: Text | None = None
    actor_token: Any = None
    actor_token_type: Text | None = None
    requested_token_type: Text | None = None
    assertion: Any = None
    username: Text | None = None
    password: Text | None = None
    password_file: Text | None = None
    redirect_uri: Text | None = None
    redirect_port: Port | None = None
    par: Boolean | None = None
    authorize_parameters: Parameters = None
    login_hint: Any = None
    login_hint_token: Any = None
    id_token_hint: Any = None
    binding_message: Text | None = None
    refresh_token_file: Text | None = None
    scope_by_refresh: Boolean | None = None
    custody: Any = None
    request_format: RequestFormat | None = None
    accept: Accept | None = None
    headers: Headers = None
    default_lifetime_seconds: Positive | None = None
    lifetime_seconds: Positive | None = None
    never_expires: Boolean | None = None
    accept_token_types: Words = None
    refresh_tokens: Boolean | None = None

    options: ClassVar[tuple[str, ...]] = (
        *Client.options,
        "send_client_id",
        "form_encode_credentials",
        "request_format",
        "accept",
        "headers",
        "default_lifetime_seconds",
        "lifetime_seconds",
        "never_expires",
        "accept_token_types",
        "refresh_tokens",
    )

    def make_provider(self, given: Given) -> BaseOAuth2Provider:
        """Return a new provider."""
        content = self.content()
        secret = given.secrets.get("client_secret") if needs_secret(content) else None
        config = OAuth2Config(
            self.provider_name,
            self.client_id,
            secret,
            self.token_url or "",
            self.scope,
            {**(self.additional_params or {}), **_targets(content)},
            **{key: content[key] for key in ("issuer", "endpoints") if key in content},
        )
        proofs = generic_options(content, given)
        return self._made({"config": config} | proofs | self._options(given.directory))

    def _options(self, directory: Path) -> dict[str, Any]:
        kept_in = self.content().get("custody")
        custody = {} if kept_in is None else {"custody": custody_of(kept_in, directory)}
        return super()._options(directory) | custody


def _targets(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the registration's own token is to be used, as parameters of the request."""
    keys = ("resource", "audience")
    targets = {key: checked_words(content[key], key) for key in keys if content.get(key)}
    return {key: each[0] if len(each) == 1 else each for key, each in targets.items()}


def _copied(value: Any) -> Any:
    """Return *value* with its own mappings and lists, which the provider may change."""
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, (list, tuple)) else value
