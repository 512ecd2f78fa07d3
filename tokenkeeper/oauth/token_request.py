"""One guarded POST to a token endpoint (RFC 6749 §3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper.clock import Clock
from tokenkeeper.models import OAuth2Config, OAuth2Token
from tokenkeeper.oauth.client_auth import ClientAuth
from tokenkeeper.oauth.token_response import Expected, parse_token_response
from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["request_token"]


def request_token(
    transport: HttpTransport,
    config: OAuth2Config,
    client: ClientAuth,
    grant: Mapping[str, str],
    *,
    clock: Clock,
    default_lifetime: float,
) -> OAuth2Token:
    """Ask *config*'s token endpoint for a token by *grant*, once.

    :param grant: the parameters of the grant; empty ones are left out.
    :raises TokenAcquisitionError: if there is none to be had.
    """
    form: dict[str, Any] = {**(config.additional_params or {}), **grant, **client.parameters()}
    secrets = [*client.secrets(), grant.get("refresh_token", "")]
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
        config.provider_name, sent_at, grant.get("scope") or None, secrets, default_lifetime
    )
    return parse_token_response(answer, expected)
