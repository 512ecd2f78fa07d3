"""What a block of a configuration may say, key by key."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
    create_model,
)

from tokenkeeper.checks import (
    checked_endpoint,
    checked_host,
    checked_parameters,
    checked_scope,
    checked_tenant,
    checked_text,
)
from tokenkeeper.config.problems import KeyPath, Problems
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.retry import RetryPolicy

__all__ = ["Block", "read_block"]


def _by(check: Callable[[Any, str], Any]) -> Callable[[Any], Any]:
    """Return a validator that says what *check* says, but for the name, which stands before it."""

    def validate(value: Any) -> Any:
        try:
            return check(value, "it")
        except InvalidConfigurationError as problem:
            raise ValueError(str(problem).removeprefix("it ")) from None

    return validate


def _checked_verify(value: object, _: str) -> object:
    return value if value is None or isinstance(value, bool) else checked_text(value, "it")


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


_Text = Annotated[StrictStr, AfterValidator(_by(checked_text))]
_Endpoint = Annotated[StrictStr, AfterValidator(_by(checked_endpoint))]
_Scope = Annotated[str | None, BeforeValidator(_by(checked_scope))]
_NUMBER = BeforeValidator(_no_boolean)
_Seconds = Annotated[float, _NUMBER, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


if TYPE_CHECKING:

    class _Retry(_Strict): ...

else:
    _hints = typing.get_type_hints(RetryPolicy)
    _Retry = create_model(
        "_Retry",
        __base__=_Strict,
        **{
            each.name: (Annotated[_hints[each.name], _NUMBER, Field(ge=0)], None)
            for each in fields(RetryPolicy)
        },
    )


class Block(_Strict):
    """One provider, as ``oauth2:`` describes it. Immutable; equal blocks make equal providers."""

    options: ClassVar[tuple[str, ...]] = ("connect_timeout", "read_timeout", "total_timeout")
    """Keys that go to the provider as they are, where they are given."""

    provider_name: _Text
    provider_type: str
    client_id: _Text
    client_secret: _Text | None = Field(None, repr=False)
    client_secret_file: _Text | None = None
    scope: _Scope = None
    scopes: _Scope = None
    refresh_buffer_seconds: _Seconds | None = None
    connect_timeout: _Seconds | None = None
    read_timeout: _Seconds | None = None
    total_timeout: _Seconds | None = None
    verify: Annotated[Any, BeforeValidator(_by(_checked_verify))] = None
    retry: _Retry | None = None

    def make_provider(self, secret: str, directory: Path) -> BaseOAuth2Provider:
        """Return the provider; *directory* is where its files are, unless they say otherwise."""
        raise NotImplementedError

    def _options(self, directory: Path) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in self.options}
        options = {name: value for name, value in given.items() if value is not None}
        if self.refresh_buffer_seconds is not None:
            options["buffer_seconds"] = self.refresh_buffer_seconds
        if self.retry is not None:
            options["retry"] = RetryPolicy(**self.retry.model_dump(exclude_unset=True))
        verify = self.verify
        options["verify"] = directory / verify if isinstance(verify, str) else verify
        return options


class _Azure(Block):
    provider_type: Literal["azure"]
    tenant_id: Annotated[StrictStr, AfterValidator(_by(checked_tenant))]
    authority: Annotated[StrictStr, AfterValidator(_by(checked_host))] | None = None

    options: ClassVar[tuple[str, ...]] = (*Block.options, "authority")

    def make_provider(self, secret: str, directory: Path) -> BaseOAuth2Provider:
        return AzureADProvider(
            self.provider_name,
            self.client_id,
            secret,
            self.tenant_id,
            self.scope or self.scopes,
            **self._options(directory),
        )


class _Generic(Block):
    provider_type: Literal["generic"]
    token_url: _Endpoint
    additional_params: Annotated[Any, BeforeValidator(_by(checked_parameters))] = None
    token_endpoint_auth_method: Literal["client_secret_basic", "client_secret_post"] | None = None
    form_encode_credentials: StrictBool | None = None
    default_lifetime_seconds: _Seconds | None = None

    options: ClassVar[tuple[str, ...]] = (
        *Block.options,
        "token_endpoint_auth_method",
        "form_encode_credentials",
        "default_lifetime_seconds",
    )

    def make_provider(self, secret: str, directory: Path) -> BaseOAuth2Provider:
        config = OAuth2Config(
            self.provider_name,
            self.client_id,
            secret,
            self.token_url,
            self.scope or self.scopes,
            self.additional_params,
        )
        return GenericOAuth2Provider(config, **self._options(directory))


_KINDS: dict[str, type[Block]] = {"azure": _Azure, "generic": _Generic}


def read_block(content: object, problems: Problems, path: KeyPath) -> Block | None:
    """Return the block that *content* describes, or note everything that is wrong with it."""
    if not isinstance(content, Mapping):
        problems.add(path, "must be a block of keys and values")
        return None
    for one, other, needed in (
        ("client_secret", "client_secret_file", True),
        ("scope", "scopes", False),
    ):
        given = [name for name in (one, other) if content.get(name) is not None]
        if len(given) == 2:
            problems.add((*path, other), f"can't be given along with {one}")
        elif needed and not given:
            problems.add((*path, one), f"is missing: give it, or {other}")
    kind = content.get("provider_type")
    if not isinstance(kind, str) or kind not in _KINDS:
        what = f"must be {_listed(_KINDS)}"
        problems.add((*path, "provider_type"), f"is missing: it {what}" if kind is None else what)
        return None
    try:
        return _KINDS[kind].model_validate(dict(content))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            key = (*path, *each["loc"])
            if key not in problems:
                problems.add(key, _words(each, _KINDS[kind], kind))
    return None


def _words(error: Any, model: type[Block], kind: str) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            *above, key = error["loc"]
            known = _Retry.model_fields if above else model.model_fields
            return _unknown(str(key), known, "retry" if above else f"provider_type {kind!r}")
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_type":
            return "must be a string: put it in quotes if it is meant as one"
        case "model_type":
            return "must be a block of keys and values"
        case "literal_error":
            return f"must be {error['ctx']['expected']}"
    return str(error["msg"]).replace("Input should be", "must be")


def _unknown(key: str, known: Iterable[str], whose: str) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"is no key of {whose}" + (f": {nearest[0]} perhaps?" if nearest else "")


def _listed(words: Iterable[str]) -> str:
    return " or ".join(repr(word) for word in words)
