"""One guarded POST to a token endpoint (RFC 6749 §3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenkeeper.checks import names_a_secret
from tokenkeeper.clock import Clock
from tokenkeeper.models import OAuth2Config, OAuth2Token
from tokenkeeper.oauth.client_auth import ClientAuth, encoding_advice
from tokenkeeper.oauth.granted_scope import warn_if_narrowed
from tokenkeeper.oauth.token_response import Expected, parse_token_response
from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["request_token"]


def request_token(
    transport: HttpTransport,
    config: OAuth2Config,
    client: ClientAuth,
    grant: Mapping[str, str],
    *,
    scope: str | None,
    clock: Clock,
    default_lifetime: float,
    warned: set[str] | None = None,
) -> OAuth2Token:
    """Ask *config*'s token endpoint for a token by *grant*, once.

    :param grant: the parameters of the grant; empty ones are left out.
    :param scope: what is granted by an answer that names no scope (RFC 6749 §5.1, §6).
    :param warned: the kinds of warnings that this provider has logged, to log each once.
    :raises TokenAcquisitionError: if there is none to be had.
    """
    extra = config.additional_params or {}
    form: dict[str, Any] = {**extra, **grant, **client.parameters()}
    secrets = [*client.secrets(), grant.get("refresh_token", ""), *_secrets(extra)]
    sent_at = clock.time()
    answer = transport.request(
        "POST",
        config.token_url,
        provider_name=config.provider_name,
        authorization=client.authorization(),
        data={name: value for name, value in form.items() if value},
        headers={"Accept": "application/json"},
    )
    expected = Expected(
        config.provider_name,
        sent_at,
        scope,
        secrets,
        default_lifetime,
        warned=set() if warned is None else warned,
        grant=grant.get("grant_type"),
        auth_advice=encoding_advice(client),
    )
    token = parse_token_response(answer, expected)
    warn_if_narrowed(token, grant.get("scope"), expected)
    return token


def _secrets(parameters: Mapping[str, Any]) -> Iterator[str]:
    """Return the values that a server's echo must not show; others help to find a mistake."""
    for name, value in parameters.items():
        if names_a_secret(name):
            yield from [value] if isinstance(value, str) else map(str, value)
