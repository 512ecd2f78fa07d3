"""Refresh tokens that a sign-in elsewhere granted (RFC 6749 §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tokenkeeper._support.checks import checked_text
from tokenkeeper.oauth.late_text import LateText, checked_late_text, read_late
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.one_time import OneTimeGrant

__all__ = ["RefreshToken"]


class RefreshToken(OneTimeGrant):
    """A refresh token to begin with, which a sign-in granted.

    It is used once, and from then on the newest one that the server sends with a token (RFC 9700
    §4.14.2); if the server sends none, the old one stays. Where it is kept is the provider's
    ``custody``: the keeper's store by default, or its memory if it has none. What is kept there is
    preferred to the one given here.

    Tokens for several resources share the refresh token, and are requested in turn.

    :param refresh_token: the first refresh token: the text itself, the path of a file, or a
        function that returns it. The last two are called when it is needed.
    :param resources: the resources that were authorized (RFC 8707 §2.2). Another one is refused
        before it is requested, since some servers revoke a refresh token that is used for it.
        ``None``, the default, leaves that to the server.
    :param scope_by_refresh: whether a source may narrow the scope by the request (RFC 6749 §6);
        ``False`` by default. Some servers then narrow the grant for good.
    :param on_rotated: called with each new refresh token, on a worker's thread, before the token
        that came with it is used; none by default. Its exceptions are logged.
    :raises InvalidConfigurationError: for an argument that can't work.
    """

    grant_type: str = "refresh_token"

    def __init__(
        self,
        refresh_token: str | LateText,
        *,
        resources: str | Iterable[str] | None = None,
        scope_by_refresh: bool = False,
        on_rotated: Callable[[str], object] | None = None,
    ) -> None:
        if isinstance(refresh_token, str):
            checked_text(refresh_token, "refresh_token")
        else:
            checked_late_text(refresh_token, "refresh_token")
        super().__init__(
            resources=resources, scope_by_refresh=scope_by_refresh, on_rotated=on_rotated
        )
        self._first = refresh_token

    def first(self) -> str:
        """Return the first refresh token.

        :raises OAuth2Error: if it can't be read.
        """
        if isinstance(self._first, str):
            return self._first
        return read_late(self._first, "the first refresh token")

    def is_same(self, other: Grant) -> bool:
        """Return whether *other* begins with the same refresh token. Reads no file."""
        if not isinstance(other, RefreshToken):
            return False
        return self._first == other._first  # noqa: SLF001 - one class
