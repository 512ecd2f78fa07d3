"""imaplib: log in with a token by OAUTHBEARER or XOAUTH2."""

from __future__ import annotations

import imaplib

from tokenkeeper._support.hiding import Hidden, without_frames
from tokenkeeper.integrations._bearer import bearer
from tokenkeeper.integrations._sasl import Exchange, check_private, choose
from tokenkeeper.source import TokenSource

__all__ = ["authenticate"]


@without_frames
def authenticate(
    connection: imaplib.IMAP4, source: TokenSource, user: str, mechanism: str | None = None
) -> None:
    """Log in to a mailbox with a valid token.

    If the server rejects the token, it is renewed, and the login is tried once more on the same
    connection. However many connections are rejected at once, one renewal follows.

    :param connection: an ``IMAP4_SSL``, or an ``IMAP4`` after ``starttls()``.
    :param source: the source of the token.
    :param user: the mailbox, such as ``"me@example.com"``.
    :param mechanism: "OAUTHBEARER" or "XOAUTH2"; by default one that the server offers.
    :raises imaplib.IMAP4.error: if the server rejects the next token as well. After the subclass
        ``IMAP4.abort``, open another connection: some servers close one that they reject.
    :raises OAuth2Error: if there is no token, or the connection is neither encrypted nor local.
    """
    socket = connection.socket()
    if socket is not None:  # a program on a pipe has none
        check_private(hasattr(socket, "cipher"), socket.getpeername())
    mechanism = mechanism or choose(
        [each.removeprefix("AUTH=") for each in connection.capabilities]
    )
    if mechanism is None:
        raise connection.error("the server offers neither OAUTHBEARER nor XOAUTH2")
    token = Hidden(bearer(source))
    try:
        connection.authenticate(mechanism, Exchange(mechanism, user, token).as_bytes)
    except connection.error as error:
        if not _is_rejection(connection, error):
            raise
        token = Hidden(source.renew_refused(token.text))
        connection.authenticate(mechanism, Exchange(mechanism, user, token).as_bytes)


def _is_rejection(connection: imaplib.IMAP4, error: imaplib.IMAP4.error) -> bool:
    """Return whether the server rejected the token. RFC 5530 has a code for its own failures."""
    return not isinstance(error, connection.abort) and "[UNAVAILABLE]" not in str(error).upper()
