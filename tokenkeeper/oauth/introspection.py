"""Asks a server what it knows of an access token (RFC 7662), signed if it can (RFC 9701)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.hiding import HIDDEN
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client import Exchange, OAuthClient
from tokenkeeper.oauth.client_auth import refusal_advice
from tokenkeeper.oauth.exchange import Expected, Target
from tokenkeeper.oauth.json_object import UnusableResponseError, read_object
from tokenkeeper.oauth.token_errors import refusal

__all__ = ["introspect_token"]

SIGNED = "application/token-introspection+jwt"
"""The media type of a signed answer (RFC 9701 §5)."""

_PREFERS_SIGNED = f"{SIGNED}, application/json;q=0.9"

_TARGET = Target("introspection endpoint", "introspection_endpoint in endpoints")


def introspect_token(client: OAuthClient, access_token: str) -> dict[str, Any]:
    """Return what the server knows of *access_token*; ``active`` is a bool.

    A signed answer is preferred where the server's metadata says that it signs, and is verified.

    :returns: the members of the answer (RFC 7662 §2.2), without the token itself.
    :raises TokenAcquisitionError: if the server refuses, there is no response, or the response
        can't be trusted.
    """
    accept = _PREFERS_SIGNED if _signs(client) else "application/json"
    exchange = client.with_forms(accept).post(
        "introspection_endpoint",
        lambda _: {"token": access_token, "token_type_hint": "access_token"},
    )
    try:
        content = _content(client, exchange)
    except UnusableResponseError as unusable:
        failure = _failure(client, exchange, str(unusable))
    else:
        shown: dict[str, Any] = _without(access_token, content)
        return shown
    raise failure  # out here: the error in the handler holds the whole body


def _signs(client: OAuthClient) -> bool:
    """Return whether the server signs such answers, and says with which keys."""
    with suppress(TokenAcquisitionError):  # then the answer decides
        metadata = client.server.metadata() or {}
        algorithms = metadata.get("introspection_signing_alg_values_supported")
        return bool(algorithms) and isinstance(metadata.get("jwks_uri"), str)
    return False


def _content(client: OAuthClient, exchange: Exchange) -> Mapping[str, Any]:
    """Return the members of the answer.

    :raises UnusableResponseError: if there are none.
    """
    answer = exchange.answer
    if not answer.ok:
        raise UnusableResponseError("")
    if _is_signed(exchange):
        with forks_wait():  # most servers don't sign
            from tokenkeeper.oauth.introspection_jwt import verified
        content = verified(client, answer, exchange.sent_at)
    else:
        content = dict(read_object(answer))
    return {**content, "active": _is_active(content)}


def _is_signed(exchange: Exchange) -> bool:
    media_type = exchange.answer.headers.get("content-type", "").partition(";")[0]
    return media_type.strip().lower() == SIGNED


def _is_active(content: Mapping[str, Any]) -> bool:
    """Return the member ``active``, which some servers send as a string."""
    active = content.get("active")
    if active in ("true", "false"):
        return bool(active == "true")
    if not isinstance(active, bool):
        found = "no active" if active is None else f"an active of type {type(active).__name__}"
        raise UnusableResponseError(f"has {found}, and not true or false (RFC 7662 §2.2)")
    return active


def _without(token: str, value: Any) -> Any:
    """Return *value*, a part of an answer, without *token*: some servers repeat what they got."""
    if isinstance(value, Mapping):
        return {_without(token, name): _without(token, each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(token, each) for each in value]
    return value.replace(token, HIDDEN) if isinstance(value, str) else value


def _failure(client: OAuthClient, exchange: Exchange, problem: str) -> TokenAcquisitionError:
    name, answer = client.config.provider_name, exchange.answer
    if answer.ok and _is_signed(exchange):  # nothing in it is to be believed, or shown
        return TokenAcquisitionError(
            f"provider {name!r}: introspection failed: the response {problem}.",
            provider_name=name,
            status_code=answer.status,
            transient=False,
        )
    expected = Expected(
        name,
        exchange.sent_at,
        secrets=exchange.secrets,
        auth_advice=partial(refusal_advice, client.auth, client.config.client_id),
        target=_TARGET,
    )
    return refusal(answer, expected, problem, "introspection")
