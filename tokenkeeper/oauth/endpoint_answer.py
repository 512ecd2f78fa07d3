"""Reads the response of an endpoint that answers with a JSON object and grants no token."""

from __future__ import annotations

from functools import partial

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client import Exchange, OAuthClient
from tokenkeeper.oauth.client_auth import refusal_advice
from tokenkeeper.oauth.exchange import Expected, Purpose
from tokenkeeper.oauth.json_object import JsonObject, UnusableResponseError, read_object

__all__ = ["read_endpoint_answer", "unusable"]


def read_endpoint_answer(
    client: OAuthClient,
    exchange: Exchange,
    purpose: Purpose,
    *,
    grant: str | None = None,
    needs: tuple[str, ...] = (),
) -> JsonObject:
    """Return the object that a server answered *exchange* with.

    :param purpose: what the request is for.
    :param grant: the grant that it belongs to, which advice depends on; none by default.
    :param needs: members that must be non-empty texts; none by default.
    :raises TokenAcquisitionError: if it is an error, or lacks one of *needs*. The message shows no
        secret of the request.
    """
    if exchange.answer.ok:
        try:
            content = read_object(exchange.answer)
        except UnusableResponseError as error:
            raise unusable(client, exchange, purpose, str(error)) from None
        if not is_text(content.get("error")):
            for name in needs:
                if not is_text(content.get(name)):
                    raise unusable(client, exchange, purpose, f"has no {name}")
            return content
    with forks_wait():  # most processes never see a refusal
        from tokenkeeper.oauth.token_errors import refusal
    config = client.config
    expected = Expected(
        config.provider_name,
        exchange.sent_at,
        secrets=exchange.secrets,
        grant=grant,
        auth_advice=partial(refusal_advice, client.auth, config.client_id),
        purpose=purpose,
    )
    raise refusal(exchange.answer, expected, "")


def is_text(value: object) -> bool:
    """Return whether *value* is a text that is not empty."""
    return isinstance(value, str) and bool(value.strip())


def unusable(
    client: OAuthClient, exchange: Exchange, purpose: Purpose, problem: str
) -> TokenAcquisitionError:
    """Return the error for a successful response that can't be used, because it *problem*."""
    name, status = client.config.provider_name, exchange.answer.status
    return TokenAcquisitionError(
        f"provider {name!r}: {purpose.request} failed (HTTP {status}): the response {problem}. "
        "Check the response with the server's operator.",
        provider_name=name,
        status_code=status,
        transient=False,
    )
