"""What a block of a configuration may say, key by key, and the provider that comes of it."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictStr,
    create_model,
)

from tokenkeeper._support.checks import (
    checked_endpoint,
    checked_host,
    checked_parameters,
    checked_scope,
    checked_tenant,
    checked_text,
    checked_words,
)
from tokenkeeper.config.files import located
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.oauth.request_style import (
    RequestFormat,
    checked_accept,
    checked_grant_type,
    checked_headers,
)
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.kinds import did_you_mean, parameters_of, place_of, provider_class
from tokenkeeper.retry import RetryPolicy

__all__ = ["Azure", "Block", "Client", "Generic", "Retry"]


def _by(check: Callable[[Any, str], Any]) -> Callable[[Any], Any]:
    """Return a validator that says what *check* says, but for the name, which stands before it."""

    def validate(value: Any) -> Any:
        try:
            return check(value, "it")
        except InvalidConfigurationError as problem:
            raise ValueError(str(problem).removeprefix("it ")) from None

    return validate


def _boolean(value: object) -> object:
    """Return a boolean for what a variable was filled in for."""
    texts = {"true": True, "false": False}
    return texts.get(value.lower(), value) if isinstance(value, str) else value


def _copied(value: Any) -> Any:
    """Return *value* with mappings and lists of its own: who gets it may change them."""
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, (list, tuple)) else value


def _plain(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(parameters or {})


def _checked_verify(value: object, _: str) -> object:
    value = _boolean(value)
    return value if value is None or isinstance(value, bool) else checked_text(value, "it")


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


_Text = Annotated[StrictStr, AfterValidator(_by(checked_text))]
_Endpoint = Annotated[StrictStr, AfterValidator(_by(checked_endpoint))]
_Scope = Annotated[str | None, BeforeValidator(_by(checked_scope))]
_Boolean = Annotated[StrictBool, BeforeValidator(_boolean)]
_NUMBER = BeforeValidator(_no_boolean)
_Seconds = Annotated[float, _NUMBER, Field(ge=0, allow_inf_nan=False)]
_Timeout = Annotated[float, _NUMBER, Field(gt=0, allow_inf_nan=False)]


_AuthMethod = Literal["client_secret_basic", "client_secret_post", "none"]


class _Strict(BaseModel):
    """A block that takes no keys but its own, and never shows its input."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True
    )


if TYPE_CHECKING:

    class Retry(_Strict):
        """The fields of ``RetryPolicy``."""

else:
    _kinds = {int: Annotated[int, _NUMBER, Field(ge=1)], float: _Seconds}
    _hints = typing.get_type_hints(RetryPolicy)
    Retry = create_model(
        "Retry",
        __base__=_Strict,
        **{each.name: (_kinds[_hints[each.name]], None) for each in fields(RetryPolicy)},
    )


class Block(_Strict):
    """One provider, as ``oauth2:`` describes it. Immutable; equal blocks make equal providers."""

    provider_name: _Text
    provider_type: str
    client_secret: _Text | None = None
    client_secret_file: _Text | None = None
    refresh_buffer_seconds: _Seconds | None = None
    verify: Annotated[Any, BeforeValidator(_by(_checked_verify))] = None
    retry: Retry | None = None

    def __repr__(self) -> str:  # values may be secrets
        return f"<{type(self).__name__} {self.provider_name!r} of type {self.provider_type!r}>"

    __str__ = __repr__

    def make_provider(self, secret: str | None, directory: Path) -> BaseOAuth2Provider:
        """Return the provider; *directory* is where its files are, unless they say otherwise."""
        raise NotImplementedError

    def _made(self, arguments: dict[str, Any]) -> BaseOAuth2Provider:
        """Return the provider that is made with *arguments*.

        :raises InvalidConfigurationError: whatever its constructor raises.
        """
        kind = provider_class(self.provider_type)
        takes = parameters_of(kind)
        own = _copied(self.model_extra or {})
        # Each provider has these two as attributes, whether or not its class takes them.
        later = {name: arguments[name] for name in ("buffer_seconds", "retry") if name in arguments}
        for name in later.keys() - {*takes.own}:
            del arguments[name]
        field = "provider_type"
        try:
            provider = kind(**arguments, **own)
        except InvalidConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - its text may hold a secret
            problem = f"{kind.__name__} raised {type(error).__name__}{place_of(error)}"
            unknown = [name for name in (*own, *arguments) if name not in takes.names]
            if isinstance(error, TypeError) and unknown:
                field = unknown[0]
                near = did_you_mean(field, takes.names)
                problem = f"{field} is not a parameter of {self.provider_type}{near}"
        else:
            for name, value in later.items():
                setattr(provider, name, value)
            if getattr(provider, "provider_name", None) == self.provider_name:
                return provider
            problem = f"{kind.__name__} must pass provider_name on to super().__init__()"
        raise InvalidConfigurationError(problem, field=field)

    def _options(self, directory: Path) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.refresh_buffer_seconds is not None:
            options["buffer_seconds"] = self.refresh_buffer_seconds
        if self.retry is not None:
            options["retry"] = RetryPolicy(**self.retry.model_dump(exclude_unset=True))
        if self.verify is not None:
            verify = self.verify
            options["verify"] = located(directory, verify) if isinstance(verify, str) else verify
        return options


class Client(Block):
    """A block whose provider is one of ours, or of a class that was derived from one."""

    options: ClassVar[tuple[str, ...]] = ("connect_timeout", "read_timeout", "total_timeout")
    """Keys that go to the provider as they are, where they are given."""

    client_id: _Text
    scope: _Scope = None
    scopes: _Scope = None
    connect_timeout: _Timeout | None = None
    read_timeout: _Timeout | None = None
    total_timeout: _Timeout | None = None

    def _options(self, directory: Path) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self.options}
        options = {name: value for name, value in given.items() if value is not None}
        return options | super()._options(directory)


class Azure(Client):
    """A block for ``AzureADProvider``."""

    tenant_id: Annotated[StrictStr, AfterValidator(_by(checked_tenant))]
    authority: Annotated[StrictStr, AfterValidator(_by(checked_host))] | None = None

    options: ClassVar[tuple[str, ...]] = (*Client.options, "authority")

    def make_provider(self, secret: str | None, directory: Path) -> BaseOAuth2Provider:
        """Return the provider."""
        arguments = {
            "provider_name": self.provider_name,
            "client_id": self.client_id,
            "client_secret": secret,
            "tenant_id": self.tenant_id,
            "scopes": self.scope or self.scopes,
        }
        return self._made(arguments | self._options(directory))


class Generic(Client):
    """A block for ``GenericOAuth2Provider``."""

    token_url: _Endpoint
    additional_params: Annotated[
        Any, BeforeValidator(_by(checked_parameters)), PlainSerializer(_plain)
    ] = None
    token_endpoint_auth_method: _AuthMethod | None = None
    send_client_id: _Boolean | None = None
    form_encode_credentials: _Boolean | None = None
    grant_type: Annotated[StrictStr, AfterValidator(_by(checked_grant_type))] | None = None
    request_format: RequestFormat | None = None
    accept: Annotated[StrictStr, AfterValidator(_by(checked_accept))] | None = None
    headers: Annotated[Any, BeforeValidator(_by(checked_headers)), PlainSerializer(_plain)] = None
    default_lifetime_seconds: _Timeout | None = None
    lifetime_seconds: _Timeout | None = None
    never_expires: _Boolean | None = None
    accept_token_types: Annotated[Any, BeforeValidator(_by(checked_words))] = None
    refresh_tokens: _Boolean | None = None

    options: ClassVar[tuple[str, ...]] = (
        *Client.options,
        "token_endpoint_auth_method",
        "send_client_id",
        "form_encode_credentials",
        "grant_type",
        "request_format",
        "accept",
        "headers",
        "default_lifetime_seconds",
        "lifetime_seconds",
        "never_expires",
        "accept_token_types",
        "refresh_tokens",
    )

    def make_provider(self, secret: str | None, directory: Path) -> BaseOAuth2Provider:
        """Return the provider."""
        config = OAuth2Config(
            self.provider_name,
            self.client_id,
            secret,
            self.token_url,
            self.scope or self.scopes,
            self.additional_params,
        )
        return self._made({"config": config} | self._options(directory))
