"""The password grant (RFC 6749 §4.3), a last resort."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.names import TokenParameters
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.late_text import LateText
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.presented import Presented

__all__ = ["Password"]


class Password(Grant):
    """A user's name and password (RFC 6749 §4.3). Thread-safe.

    A last resort, for a server that offers nothing else. RFC 9700 §2.4 says that this grant must
    not be used, and OAuth 2.1 has removed it: the client learns the password, it can't be limited
    to a scope, and a second factor or a single sign-on makes it fail. Ask the server's operator for
    client credentials or a service account first.

    :param username: the user's name.
    :param password: the user's password, or where it comes from: a ``Path`` or a function, asked
        for each request, so that a changed password is noticed.
    :raises InvalidConfigurationError: if one of them is missing or empty.
    """

    grant_type: str = "password"

    def __init__(self, username: str, password: LateText | str) -> None:
        self._username = checked_text(username, "username")
        if password is None:  # such as a variable that is not set; a source can't name a password
            raise InvalidConfigurationError(
                "password is missing. Set it, or check the variable that it comes from.",
                field="password",
            )
        self._password = Presented(password, "password")

    def parameters(self, wanted: TokenParameters, to: Recipient) -> Mapping[str, Any]:
        """Return name and password (RFC 6749 §4.3.2)."""
        return {"username": self._username, "password": self._password.read(None, to)}

    def identity(self) -> Mapping[str, object]:
        """Return the user's name: another password is not another user."""
        return {"username": self._username}
