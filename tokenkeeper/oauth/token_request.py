"""Sends one token request (RFC 6749 §3.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.client import OAuthClient
from tokenkeeper.oauth.client_auth import refusal_advice
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.granted_scope import warn_if_narrowed
from tokenkeeper.oauth.token_response import parse_token_response

__all__ = ["Reading", "request_token"]


class Reading(TypedDict, total=False):
    """How to read the response; see :class:`~tokenkeeper.oauth.exchange.Expected`."""

    default_lifetime: float
    lifetime_seconds: float | None
    never_expires: bool
    accept_token_types: tuple[str, ...]


def request_token(
    client: OAuthClient,
    grant: Callable[[Recipient], Mapping[str, Any]],
    *,
    scope: str | None,
    requested_scope: str | None,
    warned: set[str],
    omitted: set[str],
    **reading: Unpack[Reading],
) -> OAuth2Token:
    """Send one token request to *client*'s token endpoint and return the token.

    :param grant: returns the parameters of the grant, which replace those of the registration;
        empty ones are left out.
    :param scope: the scope that a response without one grants (RFC 6749 §5.1, §6).
    :param requested_scope: the scope in the request; ``None`` if it has none.
    :param warned: the kinds of warnings logged so far; new ones are added.
    :param omitted: receives the names of optional members that the response left out.
    :raises TokenAcquisitionError: if no token is granted.
    """
    config = client.config
    sent: dict[str, Any] = {}

    def parameters(to: Recipient) -> Mapping[str, Any]:
        sent.update(config.additional_params or {})
        sent.update(grant(to))
        client.server.warn_if_unsupported(client.auth.method, sent.get("grant_type"))
        return sent

    exchange = client.post("token_endpoint", parameters)
    expected = Expected(
        config.provider_name,
        exchange.sent_at,
        scope,
        exchange.secrets,
        **reading,
        warned=warned,
        omitted=omitted,
        grant=sent.get("grant_type"),
        auth_advice=partial(refusal_advice, client.auth, config.client_id),
    )
    token = parse_token_response(exchange.answer, expected)
    warn_if_narrowed(token, requested_scope, expected)
    return token
