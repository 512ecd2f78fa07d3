"""Revokes one token at its server (RFC 7009), and says what that means."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Literal

from tokenkeeper._runtime.fork import forks_wait

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import Exchange, OAuthClient

__all__ = ["Revocation", "TokenKind", "revoke_token"]

TokenKind = Literal["refresh_token", "access_token"]
"""The kinds of tokens that a server may revoke, as RFC 7009 §2.1 calls them."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """What became of tokens that were to be revoked; without a secret.

    :ivar provider_name: the provider.
    :ivar token: what was revoked: ``refresh_token`` or ``access_token``; ``None`` if there was
        nothing to revoke.
    :ivar server_was_asked: whether the server was asked, and revoked it. Otherwise there was
        nothing to revoke, or the server has no endpoint for it, and tokens were only forgotten.
    :ivar forgotten: how many access tokens were forgotten, in memory and in the store.
    :ivar valid_until: when the last of these expires. An API that checks tokens without asking the
        server, as for a JWT, may accept a copy until then. ``None`` if there was none.
    :ivar keeps_refresh_token: whether the refresh token of the grant is kept, as only its access
        token was to be revoked.
    :ivar token_name: the name of the token whose grant was revoked. It may contain personal data,
        so ``repr`` does not show it.
    """

    provider_name: str
    token: TokenKind | None
    server_was_asked: bool
    forgotten: int = 0
    valid_until: datetime | None = None
    keeps_refresh_token: bool = False
    token_name: str = field(default="", repr=False)

    @property
    def goes_with(self) -> str:
        """What the server revokes together with the token, in one sentence (RFC 7009 §2.1)."""
        if not self.server_was_asked:
            return "Nothing else: the server was not asked."
        if self.token == "refresh_token":  # noqa: S105 - the kind, not a token
            return (
                "The server should have invalidated all access tokens of the same grant, if it can."
            )
        if self.keeps_refresh_token:
            return (
                "The server may have revoked the refresh token of the same grant as well, and then "
                "a new sign-in is needed."
            )
        return "Nothing else: other access tokens of the client are not affected."


def revoke_token(client: OAuthClient, token: str, kind: TokenKind) -> None:
    """Have the server revoke *token*.

    A token that the server does not know, or that is not valid any more, counts as revoked
    (RFC 7009 §2.2).

    :param kind: what it is, as a hint for the server.
    :raises TokenAcquisitionError: if the server refuses, or there is no response. The token may
        still be valid then; the same call can be made again.
    """
    exchange = client.with_forms().post(
        "revocation_endpoint", lambda _: {"token": token, "token_type_hint": kind}
    )
    with forks_wait():  # few processes ever revoke a token
        from tokenkeeper.oauth.json_object import UnusableResponseError, read_object
        from tokenkeeper.oauth.token_response import is_error

    answer = exchange.answer
    failed = not answer.ok
    if answer.ok:  # the content does not matter (RFC 7009 §2.2), unless it says otherwise
        with suppress(UnusableResponseError):
            failed = is_error(read_object(answer))
    if failed:
        _raise_refusal(client, exchange)


def _raise_refusal(client: OAuthClient, exchange: Exchange) -> None:
    """Raise the error for a refusal, unless it says that the token is not valid any more.

    With another status than 400, such as 401, ``invalid_token`` may be about the request itself:
    a gateway in front of the server may demand a token of its own (RFC 6750 §3.1).
    """
    with forks_wait():
        from tokenkeeper.oauth.client_auth import refusal_advice
        from tokenkeeper.oauth.exchange import Expected, Purpose
        from tokenkeeper.oauth.token_errors import refusal

    expected = Expected(
        client.config.provider_name,
        exchange.sent_at,
        secrets=exchange.secrets,
        auth_advice=partial(refusal_advice, client.auth, client.config.client_id),
        purpose=Purpose.of("revocation_endpoint", "revocation"),
    )
    error = refusal(exchange.answer, expected, "")
    says_it_is_invalid = error.error == "invalid_token" and not error.transient
    if says_it_is_invalid and (exchange.answer.ok or exchange.answer.status == 400):  # as Google's
        return
    raise error
