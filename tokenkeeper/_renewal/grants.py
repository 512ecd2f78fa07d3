"""What this process knows of grants whose refresh tokens work once.

Several tokens may come from one grant: for one resource each, or each narrowed to another scope. A
server replaces the refresh token with every use, so its users take turns, and each one goes on
with what the one before received. The record of the grant is that of its provider's own token (or
of an account's). Where another token was requested, it keeps the access token that it had.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.slot import Slot
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.sign_in_requests import AUTHORIZED

__all__ = ["Grants", "kept_in_grant"]

TURN_SECONDS = 0.05
"""How soon a token is looked at again whose grant is in use for another token of this process."""


_KEPT = (AUTHORIZED,)
"""The members of ``extra`` that belong to the refresh token."""

_NOTHING = "none"
"""Takes the place of an access token in a record, with a lifetime of 0."""


class Grants:
    """The grants that this process uses, by the keys of their records. Thread-safe.

    :param is_private: whether their records are in the memory of this process, so that a forked
        child has copies that it must not use.
    """

    def __init__(self, *, is_private: bool = False) -> None:
        self._is_private = is_private
        self._lock = threading.Lock()  # guards the three below
        self._known: dict[str, CachedToken] = {}
        self._in_use: set[str] = set()
        self._of_parent: set[str] = set()

    def after_fork_in_child(self) -> None:
        """Leave to the parent what only one process may use."""
        self._lock = threading.Lock()
        self._in_use = set()
        if self._is_private:
            self._of_parent |= set(self._known)

    @contextmanager
    def turn(self, key: str, provider: BaseOAuth2Provider) -> Iterator[None]:
        """Have what runs inside be the only user of the grant in this process.

        Between processes, the claim in the store does the same.

        :raises LookAgain: if another token of the grant is being requested.
        :raises TokenAcquisitionError: if the grant belongs to the process that forked this one.
        """
        with self._lock:
            if key in self._of_parent:
                raise _of_parent(provider.provider_name)
            if key in self._in_use:
                raise LookAgain(TURN_SECONDS)
            self._in_use.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._in_use.discard(key)

    def slot(self, slot: Slot) -> Slot:
        """Return the record of a grant with the newest token of it that this process knows."""
        known = self._known.get(slot.key)
        if known is not None and known.generation > slot.known_generation:
            slot = slot._replace(mine=known)
        return slot._replace(is_of_grant=True)

    def note(self, key: str, token: CachedToken) -> None:
        """Note *token*, which is in the record of a grant now, or is to be stored there."""
        with self._lock:
            known = self._known.get(key)
            if known is None or known.generation < token.generation:
                self._known[key] = token

    def drop(self, key: str) -> None:
        """Forget what was known of a grant, because it starts again with another sign-in.

        What it brings belongs to this process, whatever the one before belonged to.
        """
        with self._lock:
            self._known.pop(key, None)
            self._of_parent.discard(key)


def kept_in_grant(token: CachedToken, before: CachedToken | None) -> CachedToken:
    """Return what the record of a grant keeps after *token*, another one of it, was granted.

    It is the access token that it had *before*, with the new refresh token. Without one it is a
    token that has expired, so no process takes it for that of the provider.
    """
    new = token.token
    if before is None:
        kept_members = {name: new.extra[name] for name in _KEPT if name in new.extra}
        nothing = replace(new, access_token=_NOTHING, extra=kept_members)
        ended = token.requested_at
        return replace(token, token=nothing, access_token=_NOTHING, ends_at=ended)
    kept = replace(before.token, refresh_token=new.refresh_token)
    return replace(before, token=kept, requested_at=token.requested_at)


def _of_parent(name: str) -> TokenAcquisitionError:
    return TokenAcquisitionError(
        f"provider {name!r}: its refresh token belongs to the process that forked this one, and "
        "works once. Share tokens through a store: TokenKeeper(store=...).",
        provider_name=name,
        transient=False,
    )
