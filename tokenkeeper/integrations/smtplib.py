"""smtplib: log in with a token by OAUTHBEARER or XOAUTH2."""

from __future__ import annotations

import smtplib

from tokenkeeper._support.hiding import Hidden, without_frames
from tokenkeeper.integrations._bearer import bearer
from tokenkeeper.integrations._sasl import Exchange, check_private, choose
from tokenkeeper.source import TokenSource

__all__ = ["authenticate"]

REJECTED = 535
"""Authentication credentials invalid (RFC 4954 §6). 454, for one, is a failure of the server."""


@without_frames
def authenticate(
    connection: smtplib.SMTP, source: TokenSource, user: str, mechanism: str | None = None
) -> None:
    """Log in to a server for submission with a valid token.

    If the server rejects the token, it is renewed, and the login is tried once more on the same
    connection. However many connections are rejected at once, one renewal follows.

    :param connection: an ``SMTP_SSL``, or an ``SMTP`` after ``starttls()``.
    :param source: the source of the token.
    :param user: the mailbox, such as ``"me@example.com"``, in ASCII.
    :param mechanism: "OAUTHBEARER" or "XOAUTH2"; by default one that the server offers.
    :raises smtplib.SMTPAuthenticationError: if the server rejects the next token as well.
    :raises smtplib.SMTPServerDisconnected: if the server closed the connection; open another one.
    :raises OAuth2Error: if there is no token, or the connection is neither encrypted nor local.
    """
    if not user.isascii():  # the UnicodeEncodeError of smtplib would have the token in it
        raise ValueError("smtplib sends ASCII names only")
    connection.ehlo_or_helo_if_needed()
    socket = connection.sock
    if socket is not None:
        check_private(hasattr(socket, "cipher"), socket.getpeername())
    offered = connection.esmtp_features.get("auth", "").upper().split()
    mechanism = mechanism or choose(offered)
    if mechanism is None:
        raise smtplib.SMTPNotSupportedError("the server offers neither OAUTHBEARER nor XOAUTH2")
    token = Hidden(bearer(source))
    try:
        connection.auth(mechanism, Exchange(mechanism, user, token))
    except smtplib.SMTPAuthenticationError as error:
        if error.smtp_code != REJECTED:
            raise
        token = Hidden(source.renew_refused(token.text))
        connection.auth(mechanism, Exchange(mechanism, user, token))
