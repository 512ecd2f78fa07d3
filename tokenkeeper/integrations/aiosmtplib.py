"""aiosmtplib: log in with a token by OAUTHBEARER or XOAUTH2."""

from __future__ import annotations

from base64 import b64encode

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPNotSupported, SMTPResponse

from tokenkeeper._support.hiding import Hidden, forget_frames
from tokenkeeper.integrations._bearer import bearer_async
from tokenkeeper.integrations._sasl import Exchange, check_private, choose
from tokenkeeper.source import TokenSource

__all__ = ["authenticate"]

SUCCESSFUL, CONTINUE, REJECTED = 235, 334, 535
"""RFC 4954 §6. 454, for one, is a failure of the server, and no reason to renew a token."""


async def authenticate(
    client: SMTP, source: TokenSource, user: str, mechanism: str | None = None
) -> None:
    """Log in to a server for submission with a valid token.

    If the server rejects the token, it is renewed, and the login is tried once more on the same
    connection. However many connections are rejected at once, one renewal follows.

    :param client: a client that is connected, by TLS.
    :param source: the source of the token.
    :param user: the mailbox, such as ``"me@example.com"``.
    :param mechanism: "OAUTHBEARER" or "XOAUTH2"; by default one that the server offers.
    :raises aiosmtplib.SMTPAuthenticationError: if the server rejects the next token as well.
    :raises aiosmtplib.SMTPServerDisconnected: if the server closed the connection; connect again.
    :raises OAuth2Error: if there is no token, or the connection is neither encrypted nor local.
    """
    if client.last_ehlo_response is None:
        await client.ehlo()
    is_encrypted = client.get_transport_info("sslcontext") is not None
    check_private(is_encrypted, client.get_transport_info("peername"))
    mechanism = mechanism or choose([each.upper() for each in client.server_auth_methods])
    if mechanism is None:
        raise SMTPNotSupported("the server offers neither OAUTHBEARER nor XOAUTH2")
    token = Hidden(await bearer_async(source.aio))
    try:
        response = await _exchange(client, mechanism, Exchange(mechanism, user, token))
        if response.code == REJECTED:
            token = Hidden(await source.aio.renew_refused(token.text))
            response = await _exchange(client, mechanism, Exchange(mechanism, user, token))
    except Exception as error:
        forget_frames(error)  # those of aiosmtplib have the token
        raise
    if response.code != SUCCESSFUL:
        raise SMTPAuthenticationError(response.code, response.message)


async def _exchange(client: SMTP, mechanism: str, exchange: Exchange) -> SMTPResponse:
    command = (b"AUTH", mechanism.upper().encode(), _encoded(exchange))
    response = await client.execute_command(*command)
    if response.code == CONTINUE:  # the reason why the token is rejected
        response = await client.execute_command(_encoded(exchange))
    return response


def _encoded(exchange: Exchange) -> bytes:
    return b64encode(exchange().encode())
