"""The stores of a keeper: one for all its tokens, and others for providers with a custody."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tokenkeeper._renewal.runner import Runner
from tokenkeeper._renewal.state import KeeperState
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from tokenkeeper._renewal.joining import Membership

__all__ = ["Memberships"]


class Memberships:
    """Knows in which store the tokens of a provider are. Thread-safe.

    :param runner: makes the requests.
    :param cooldown_seconds: for how long a final refusal spares the fleet a request.
    :ivar main: the keeper's store; ``None`` without one.
    """

    def __init__(
        self, state: KeeperState, background: Background, runner: Runner, cooldown_seconds: float
    ) -> None:
        self._state = state
        self._background = background
        self._runner = runner
        self._cooldown_seconds = cooldown_seconds
        self._lock = threading.Lock()  # guards the memberships of single providers
        self._own: dict[str, tuple[object, Membership]] = {}
        self.main: Membership | None = None

    def join(self, store: object) -> None:
        """Share all tokens through *store* from now on, except where a provider has a custody.

        :raises InvalidConfigurationError: if it can't be opened.
        """
        self.main = self._opened(store)

    def of(self, provider: BaseOAuth2Provider) -> Membership | None:
        """Return where the tokens of *provider* are; ``None`` for the keeper's memory alone.

        Refresh tokens that work once are always in a store, where the tokens of one grant share
        them. Without another store, it is one in memory.

        :raises InvalidConfigurationError: if its custody can't be opened.
        """
        custody = provider.custody
        if custody is None and (self.main is not None or provider.repeatable):
            return self.main
        with self._lock:
            known = self._own.get(provider.provider_name)
            # Equal, not the same: each reading of a configuration makes another one.
            if known is None or known[0] != custody:
                known = custody, self._opened(custody)
                self._own[provider.provider_name] = known
            return known[1]

    def add(self, provider: BaseOAuth2Provider) -> None:
        """Raise ``InvalidConfigurationError`` if *provider* can't be used with its store.

        Also if its name is taken: a store is found by the name, and stays with the other provider.
        """
        with self._state.lock:
            self._state.registry.check_free(provider)
        membership = self.of(provider)
        if membership is not None:
            membership.check(provider)

    def remove(self, provider_name: str) -> None:
        """Forget the store of a provider that is no longer used."""
        with self._lock:
            self._own.pop(provider_name, None)

    def all(self) -> list[Membership]:
        """Return the memberships that there are."""
        with self._lock:
            own = [membership for _, membership in self._own.values()]
        return own if self.main is None else [self.main, *own]

    def after_fork_in_child(self) -> None:
        """Become another member of each, which holds none of the parent's claims."""
        self._lock = threading.Lock()
        for each in self.all():
            each.after_fork_in_child()

    def _opened(self, store: object) -> Membership:
        with forks_wait():  # a process without a store does not import this
            from tokenkeeper._renewal.joining import join_fleet
        return join_fleet(
            self._state, self._background, self._runner, store, self._cooldown_seconds
        )
