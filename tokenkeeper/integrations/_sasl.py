"""SASL with a token, for mail: OAUTHBEARER (RFC 7628) and its forerunner XOAUTH2."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tokenkeeper._support.checks import is_loopback
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["Exchange", "check_private", "choose"]

MECHANISMS = ("OAUTHBEARER", "XOAUTH2")


def choose(offered: Collection[str]) -> str | None:
    """Return the mechanism to use of those that the server offers; ``None`` if neither is."""
    return next((each for each in MECHANISMS if each in offered), None)


def check_private(is_encrypted: bool, peer: Any) -> None:
    """Refuse to send a token where anyone on the way can read it.

    :param peer: the address of the server, as ``getpeername()`` returns it.
    :raises InvalidConfigurationError: if the connection is neither encrypted nor local.
    """
    # A Unix socket has a path or nothing as its address.
    if not is_encrypted and isinstance(peer, tuple) and not is_loopback(str(peer[0])):
        raise InvalidConfigurationError(
            "the token must not be sent over an unencrypted connection, as anyone on the way could "
            "read it. Connect by TLS, or call starttls() first."
        )


class Exchange:
    """The client's answers in one authentication: the token first, then an end to an error.

    A server that rejects the token sends the reason as a challenge. The client has to answer it
    before the server ends the exchange (RFC 7628 §3.2.3).

    :param mechanism: one of the two.
    :param user: the mailbox.
    :raises ValueError: if the user's name has control characters.
    """

    def __init__(self, mechanism: str, user: str, token: Hidden[str]) -> None:
        if not user.isprintable():
            raise ValueError("the user's name must not contain control characters")
        self._mechanism = mechanism.upper()
        self._user = user
        self._token = token
        self._was_sent = False

    def __call__(self, challenge: bytes | None = None) -> str:
        """Return the answer to a challenge, or the initial response if there is none."""
        was_sent, self._was_sent = self._was_sent, True
        if self._mechanism == "XOAUTH2":
            return "" if was_sent else f"user={self._user}{self._bearer}"
        if was_sent:
            return "\1"
        user = self._user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801 §4
        return f"n,a={user},{self._bearer}"

    def as_bytes(self, challenge: bytes) -> bytes:
        """Return the same as bytes."""
        return self(challenge).encode()

    @property
    def _bearer(self) -> str:
        return f"\1auth=Bearer {self._token.text}\1\1"
