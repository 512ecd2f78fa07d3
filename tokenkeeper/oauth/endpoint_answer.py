"""Reads the response of an endpoint that answers with a JSON object and grants no token."""

from __future__ import annotations

from functools import partial

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client import Exchange, OAuthClient
from tokenkeeper.oauth.client_auth import refusal_advice
from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.json_object import JsonObject, UnusableResponseError, read_object

__all__ = ["read_endpoint_answer"]


def read_endpoint_answer(
    client: OAuthClient,
    exchange: Exchange,
    what: str,
    *,
    grant: str | None = None,
    needs: tuple[str, ...] = (),
) -> JsonObject:
    """Return the object that a server answered *exchange* with.

    :param what: the request in words, as in "pushed authorization request", for messages.
    :param grant: the grant that it belongs to, which advice depends on; none by default.
    :param needs: members that must be non-empty texts; none by default.
    :raises TokenAcquisitionError: if it is an error, or lacks one of *needs*. The message shows no
        secret of the request.
    """
    answer, problem = exchange.answer, ""
    if answer.ok:
        try:
            content = read_object(answer)
        except UnusableResponseError as unusable:
            problem = str(unusable)
        else:
            missing = [name for name in needs if not is_text(content.get(name))]
            if not is_text(content.get("error")):
                if not missing:
                    return content
                problem = f"has no {missing[0]}"
    config = client.config
    expected = Expected(
        config.provider_name,
        exchange.sent_at,
        secrets=exchange.secrets,
        grant=grant,
        auth_advice=partial(refusal_advice, client.auth, config.client_id),
    )
    raise _refused(exchange, expected, problem, what)


def is_text(value: object) -> bool:
    """Return whether *value* is a text that is not empty."""
    return isinstance(value, str) and bool(value.strip())


def _refused(
    exchange: Exchange, expected: Expected, problem: str, what: str
) -> TokenAcquisitionError:
    with forks_wait():  # most processes never see a refusal
        from tokenkeeper.oauth.token_errors import refusal
    if exchange.answer.ok and problem:
        return TokenAcquisitionError(
            f"provider {expected.provider_name!r}: {what} failed (HTTP {exchange.answer.status}): "
            f"the response {problem}. Check the response with the server's operator.",
            provider_name=expected.provider_name,
            status_code=exchange.answer.status,
            transient=False,
        )
    return refusal(exchange.answer, expected, problem, what)
