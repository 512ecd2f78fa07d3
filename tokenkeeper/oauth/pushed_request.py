"""Pushes an authorization request to the server before the browser goes there (RFC 9126)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper.oauth.client import OAuthClient
from tokenkeeper.oauth.endpoint_answer import read_endpoint_answer

__all__ = ["push"]


def push(client: OAuthClient, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that stand for *request* in the browser (§4).

    The server has authenticated the client, and a browser can't change the request.

    :raises TokenAcquisitionError: if the server refuses it.
    """
    exchange = client.post("pushed_authorization_request_endpoint", lambda _: request)
    content = read_endpoint_answer(
        client, exchange, "pushed authorization request", needs=("request_uri",)
    )
    return {"client_id": client.config.client_id, "request_uri": content["request_uri"]}
