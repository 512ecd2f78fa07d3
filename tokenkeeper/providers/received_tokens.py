"""Which refresh tokens a process may spend: those that it received itself, and each only once."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from tokenkeeper.exceptions import AuthorizationRequiredError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.claims import is_claimed

if TYPE_CHECKING:
    from tokenkeeper.oauth.dpop import DPoPKey

__all__ = ["ReceivedTokens"]


class ReceivedTokens:
    """Knows which refresh tokens this process may use. Thread-safe.

    After a fork, parent and child have the same refresh token. Many servers treat its second use as
    theft, and revoke all tokens of the client. So only the process that received it uses it. The
    process id reveals a fork that did not run Python's hooks.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._inherits = False  # tokens that another process received
        self._used_by_parent = False
        self._newest: str | None = None
        self.key: DPoPKey | None = None  # the key that the newest one is bound to
        # The refresh token that was spent last, and its successor. The keeper drops both new tokens
        # if the access token has expired before it arrives, and asks with the spent one again.
        self._exchanged: tuple[str, str | None] | None = None

    def after_fork_in_child(self) -> None:
        """Stop using the refresh tokens received so far: they belong to the parent."""
        self._used_by_parent = self._used_by_parent or self._newest is not None
        self._process, self._inherits, self._newest = os.getpid(), True, None
        self._exchanged = None

    def note(self, token: OAuth2Token) -> None:
        """Note that this process received *token*."""
        self._look_for_a_fork()
        self._newest = token.refresh_token
        self.key = cast("DPoPKey | None", token.dpop_key)

    def forget(self) -> None:
        """Forget the newest refresh token, because it was revoked."""
        self._newest = self._exchanged = None

    def exchange(self, refresh_token: str, successor: str | None) -> None:
        """Note that the server sent *successor* to replace *refresh_token*."""
        self._exchanged = (refresh_token, successor)

    def newest_for(self, refresh_token: str) -> str:
        """Return the refresh token to send: the successor of *refresh_token*, if it was spent."""
        spent, successor = self._exchanged or (None, None)
        return successor if spent == refresh_token and successor else refresh_token

    def first(self, configured: Callable[[], str]) -> str:
        """Return the refresh token for a first request: the newest one, or the *configured* one.

        A process with a claim finds newer ones in the store. If it asks here, there is none, so it
        gets the *configured* one.

        :raises AuthorizationRequiredError: if a parent of this process has used it.
        :raises OAuth2Error: if it can't be read.
        """
        if is_claimed():
            return configured()
        self._look_for_a_fork()
        if self._newest:
            return self._newest
        if not self._used_by_parent:
            return configured()
        raise AuthorizationRequiredError(
            "its refresh token was used by the process that forked this one, and works once. "
            "Share tokens through a store: TokenKeeper(store=...).",
            transient=False,
        )

    def may_spend(self, token: OAuth2Token) -> bool:
        """Return whether this process may use the refresh token of *token*: it received it.

        With a store, the process with the claim has the newest one, and is alone with it.
        """
        claim = is_claimed()
        if claim is not None:
            return claim
        self._look_for_a_fork()
        return not self._inherits or token.refresh_token == self._newest

    def _look_for_a_fork(self) -> None:
        if self._process != os.getpid():
            self.after_fork_in_child()
