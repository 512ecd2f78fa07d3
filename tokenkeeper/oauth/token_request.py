"""Sends one token request (RFC 6749 §3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

from tokenkeeper._support.checks import names_a_secret, secrets_in_query
from tokenkeeper.clock import Clock
from tokenkeeper.models import OAuth2Config, OAuth2Token
from tokenkeeper.oauth.client_auth import ClientAuth, encoding_advice
from tokenkeeper.oauth.exchange import Expected, LateSecrets
from tokenkeeper.oauth.granted_scope import warn_if_narrowed
from tokenkeeper.oauth.request_style import RequestStyle
from tokenkeeper.oauth.token_response import parse_token_response
from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["Reading", "request_token"]


class Reading(TypedDict, total=False):
    """How to read the response; see :class:`~tokenkeeper.oauth.exchange.Expected`."""

    default_lifetime: float
    lifetime_seconds: float | None
    never_expires: bool
    accept_token_types: tuple[str, ...]


def request_token(
    transport: HttpTransport,
    config: OAuth2Config,
    client: ClientAuth,
    grant: Mapping[str, Any],
    *,
    scope: str | None,
    clock: Clock,
    style: RequestStyle,
    warned: set[str],
    omitted: set[str],
    **reading: Unpack[Reading],
) -> OAuth2Token:
    """Send one token request to *config*'s token endpoint and return the token.

    :param grant: the parameters of the grant; empty ones are left out.
    :param scope: the scope that a response without one grants (RFC 6749 §5.1, §6).
    :param style: the format of the request.
    :param warned: the kinds of warnings logged so far; new ones are added.
    :param omitted: receives the names of optional members that the response left out.
    :raises TokenAcquisitionError: if no token is granted.
    """
    extra = config.additional_params or {}
    sent_at = clock.time()
    answer = transport.request(
        "POST",
        config.token_url,
        provider_name=config.provider_name,
        authorization=client.authorization(),
        **style.encode({**extra, **grant, **client.parameters()}),
    )
    expected = Expected(
        config.provider_name,
        sent_at,
        scope,
        LateSecrets(partial(_secrets, config, client, grant, style)),
        **reading,
        warned=warned,
        omitted=omitted,
        grant=grant.get("grant_type"),
        auth_advice=partial(encoding_advice, client),
    )
    token = parse_token_response(answer, expected)
    warn_if_narrowed(token, grant.get("scope"), expected)
    return token


def _secrets(
    config: OAuth2Config, client: ClientAuth, grant: Mapping[str, Any], style: RequestStyle
) -> list[str]:
    """Return the texts in a token request that no message may show."""
    return [
        *client.secrets(),
        *filter(None, [config.client_secret, grant.get("refresh_token")]),
        *_secret_parameters(config.additional_params or {}),
        *secrets_in_query(config.token_url),
        *style.secrets(),
    ]


def _secret_parameters(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values that are secrets by name; others may be shown, to help find a mistake."""
    for name, value in parameters.items():
        if names_a_secret(name) and not isinstance(value, bool):
            yield from map(str, value) if isinstance(value, (list, tuple)) else [str(value)]
