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
    PlainSerializer,
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
from tokenkeeper.config.files import located
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


def _boolean(value: object) -> object:
    """Return a boolean for what a variable was filled in for."""
    texts = {"true": True, "false": False}
    return texts.get(value.lower(), value) if isinstance(value, str) else value


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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


if TYPE_CHECKING:

    class _Retry(_Strict): ...

else:
    _kinds = {int: Annotated[int, _NUMBER, Field(ge=1)], float: _Seconds}
    _hints = typing.get_type_hints(RetryPolicy)
    _Retry = create_model(
        "_Retry",
        __base__=_Strict,
        **{each.name: (_kinds[_hints[each.name]], None) for each in fields(RetryPolicy)},
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
    connect_timeout: _Timeout | None = None
    read_timeout: _Timeout | None = None
    total_timeout: _Timeout | None = None
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
        options["verify"] = located(directory, verify) if isinstance(verify, str) else verify
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
    additional_params: Annotated[
        Any, BeforeValidator(_by(checked_parameters)), PlainSerializer(_plain)
    ] = None
    token_endpoint_auth_method: Literal["client_secret_basic", "client_secret_post"] | None = None
    form_encode_credentials: _Boolean | None = None
    default_lifetime_seconds: _Timeout | None = None

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


class _Undecided(_Azure, _Generic):
    """A block whose ``provider_type`` says nothing: what is wrong beyond that."""

    provider_type: Any = None
    tenant_id: Any = None
    token_url: Any = None


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
    model = _KINDS.get(kind, _Undecided) if isinstance(kind, str) else _Undecided
    if model is _Undecided:
        what = f"must be {_listed(_KINDS)}"
        problems.add((*path, "provider_type"), f"is missing: it {what}" if kind is None else what)
    try:
        block = model.model_validate(dict(content))
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            key = (*path, *map(str, each["loc"]))
            if key not in problems:
                problems.add(key, _words(each, content, model))
        return None
    return None if model is _Undecided else block


def _words(error: Any, content: Mapping[Any, Any], model: type[Block]) -> str:
    """Return what is wrong with a value, which is not shown: it may be a secret."""
    *above, key = error["loc"]
    if not above and key in content and content[key] is None:
        return "has no value"
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden" | "invalid_key":
            return _unknown(str(key), _Retry if above else model)
        case "value_error":
            return str(error["ctx"]["error"])
        case "string_type":
            return "must be a string: put it in quotes if it is meant as one"
        case "bool_type":
            return "must be true or false"
        case "model_type":
            return "must be a block of keys and values"
        case "literal_error":
            return f"must be {error['ctx']['expected']}"
    return str(error["msg"]).replace("Input should be", "must be")


def _unknown(key: str, model: type[BaseModel]) -> str:
    kind = next((name for name, each in _KINDS.items() if key in each.model_fields), None)
    if kind and model is not _Retry:
        return f"is a key of provider_type {kind!r} only"
    whose: dict[type[BaseModel], str] = {_Retry: "retry", _Undecided: "a provider"}
    whose |= {each: f"provider_type {name!r}" for name, each in _KINDS.items()}
    nearest = difflib.get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
    return f"is no key of {whose[model]}" + (f": {nearest[0]} perhaps?" if nearest else "")


def _listed(words: Iterable[str]) -> str:
    return " or ".join(repr(word) for word in words)
