"""The kinds of values in a block, and how each is validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StrictBool, StrictStr

from tokenkeeper._support.checks import (
    checked_endpoint,
    checked_host,
    checked_parameters,
    checked_scope,
    checked_tenant,
    checked_tenants,
    checked_text,
    checked_words,
)
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.request_style import checked_accept, checked_grant_type, checked_headers
from tokenkeeper.oauth.server import Endpoint as EndpointName
from tokenkeeper.providers.kinds import did_you_mean

__all__ = [
    "Accept",
    "AuthMethod",
    "Boolean",
    "Endpoint",
    "Endpoints",
    "Grant",
    "GrantType",
    "Headers",
    "Host",
    "Parameters",
    "Port",
    "Positive",
    "Scope",
    "Seconds",
    "SwitchOrText",
    "Targets",
    "Tenant",
    "Tenants",
    "Text",
    "Verify",
    "Whole",
    "Words",
]


def _by(check: Callable[[Any, str], Any]) -> Callable[[Any], Any]:
    """Return a validator that calls *check*, whose messages lose the name of the value.

    Messages about a configuration begin with the place of the value.
    """

    def validate(value: Any) -> Any:
        try:
            return check(value, "it")
        except InvalidConfigurationError as problem:
            raise ValueError(str(problem).removeprefix("it ")) from None

    return validate


def _boolean(value: object) -> object:
    """Return a boolean for a text that a variable was filled in for."""
    texts = {"true": True, "false": False}
    return texts.get(value.lower(), value) if isinstance(value, str) else value


def _checked_targets(value: object, _: str) -> object:
    checked_words(value, "it")
    return value  # as given: a custom class may have an argument of that name


def _plain(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    return dict(parameters or {})


def _checked_switch_or_text(value: object, _: str) -> object:
    value = _boolean(value)
    return value if value is None or isinstance(value, bool) else checked_text(value, "it")


def _checked_endpoints(value: object, _: str) -> object:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidConfigurationError("it must be a mapping of names to URLs")
    for name, url in value.items():
        if name not in get_args(EndpointName):
            near = did_you_mean(str(name), get_args(EndpointName))
            raise InvalidConfigurationError(f"it must not contain {name!r}{near}")
        try:
            checked_endpoint(url, "it")
        except InvalidConfigurationError as error:
            problem = str(error).removeprefix("it ")
            raise InvalidConfigurationError(f"it has a wrong {name}: it {problem}") from None
    return dict(value)


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):  # which Python takes for a number
        raise ValueError("must be a number")
    return value


_NUMBER = BeforeValidator(_no_boolean)

Text = Annotated[StrictStr, AfterValidator(_by(checked_text))]
Endpoint = Annotated[StrictStr, AfterValidator(_by(checked_endpoint))]
Tenant = Annotated[StrictStr, AfterValidator(_by(checked_tenant))]
Tenants = Annotated[Any, BeforeValidator(_by(checked_tenants))]
Host = Annotated[StrictStr, AfterValidator(_by(checked_host))]
Scope = Annotated[str | None, BeforeValidator(_by(checked_scope))]
Boolean = Annotated[StrictBool, BeforeValidator(_boolean)]
SwitchOrText = Annotated[Any, BeforeValidator(_by(_checked_switch_or_text))]
Verify = SwitchOrText
Endpoints = Annotated[Any, BeforeValidator(_by(_checked_endpoints))]
Whole = Annotated[int, _NUMBER, Field(ge=1)]
Port = Annotated[int, _NUMBER, Field(ge=1, le=65535)]
Seconds = Annotated[float, _NUMBER, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, _NUMBER, Field(gt=0, allow_inf_nan=False)]
Parameters = Annotated[Any, BeforeValidator(_by(checked_parameters)), PlainSerializer(_plain)]
Headers = Annotated[Any, BeforeValidator(_by(checked_headers)), PlainSerializer(_plain)]
Targets = Annotated[Any, BeforeValidator(_by(_checked_targets))]
Words = Annotated[Any, BeforeValidator(_by(checked_words))]
Accept = Annotated[StrictStr, AfterValidator(_by(checked_accept))]
GrantType = Annotated[StrictStr, AfterValidator(_by(checked_grant_type))]
AuthMethod = Literal[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "none",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
]
Grant = Literal[
    "client_credentials",
    "authorization_code",
    "device_code",
    "refresh_token",
    "token_exchange",
    "jwt_bearer",
    "ciba",
    "password",
]
