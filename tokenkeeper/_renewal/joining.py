"""Connects a keeper with its fleet."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from tokenkeeper._renewal.adoption import Adoption
from tokenkeeper._renewal.detached import DetachedRequests
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.fleet_attempt import FleetAttempts
from tokenkeeper._renewal.fleet_request import FleetRequests
from tokenkeeper._renewal.grants import Grants, kept_in_grant
from tokenkeeper._renewal.looks import Looks
from tokenkeeper._renewal.one_time import OneTimeRequests
from tokenkeeper._renewal.runner import Runner
from tokenkeeper._renewal.slot import Slot
from tokenkeeper._renewal.state import KeeperState
from tokenkeeper._renewal.unpublished import Unpublished
from tokenkeeper._runtime.background import Background
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.stores.memory import MemoryTokenStore
from tokenkeeper.stores.settings import opened

__all__ = ["Membership", "join_fleet"]

_log = logging.getLogger("tokenkeeper.stores")

MOST_TRIES = 5
"""How often a record is cleared that another process changes at the same time."""


class Membership:
    """What a keeper with a store has in addition.

    :ivar attempts: makes attempts at its tokens.
    :ivar fleet: its place in the fleet.
    :ivar grants: what this process knows of grants that work once.
    :ivar unpublished: tokens that are still to be stored.
    :ivar one_time: the requests that the end of the process waits for.
    :ivar detached: has helper processes make those requests; ``None`` without the setting.
    """

    def __init__(
        self,
        attempts: FleetAttempts,
        fleet: Fleet,
        grants: Grants,
        unpublished: Unpublished,
        one_time: OneTimeRequests,
        detached: DetachedRequests | None,
    ) -> None:
        self.attempts = attempts
        self.fleet = fleet
        self.grants = grants
        self.unpublished = unpublished
        self.one_time = one_time
        self.detached = detached

    def check(self, provider: BaseOAuth2Provider) -> None:
        """Raise ``InvalidConfigurationError`` if *provider* can't be used with the settings."""
        if self.detached is not None:
            self.detached.check(provider)

    def forget(self, provider: BaseOAuth2Provider, name: str) -> None:
        """Remove the token *name*, and never adopt one that was requested before. Raises nothing.

        A refresh token that works once is kept, as without it a person would have to sign in
        again; but not one that the server has refused.
        """
        key = self.fleet.key_of(provider, name)
        self.fleet.note_cleared(name)
        if provider.repeatable or name != provider.grant_name:
            self.fleet.forget(name, key)
        else:
            with suppress(StoreUnavailableError):
                self._empty(provider, name, key)

    def _empty(self, provider: BaseOAuth2Provider, name: str, key: str) -> None:
        """Keep nothing but the refresh token in the record of a grant."""
        for _ in range(MOST_TRIES):
            view = self.fleet.read(name, key)
            if view.unreadable is not None:  # it may hold the only refresh token
                return
            token = self.fleet.adopted(view, provider, None, sent=0)
            slot = self.grants.slot(Slot(name, key, token))
            is_refused = view.failure is not None and view.failure.error == "invalid_grant"
            if is_refused or slot.mine is None or slot.mine.token.refresh_token is None:
                self.grants.drop(key)
                self.fleet.forget(name, key)
                return
            number = max(view.generation, slot.known_generation) + 1
            kept = kept_in_grant(slot.mine, None).published(number)
            if self.fleet.publish(
                name, key, kept, replaces=view.generation, keep=True, keeps_claim=True
            ):
                self.grants.note(key, kept)
                return

    def close(self) -> None:
        """Close the connections of a store that was opened here, by its URL. Raises nothing."""
        settings = self.fleet.settings
        if settings.options is None or settings.options.store is not None:
            return
        try:
            settings.store.close()
        except Exception as error:  # noqa: BLE001 - the keeper is closed all the same
            _log.warning("closing the store %s failed: %s", settings.label, type(error).__name__)

    def after_fork_in_child(self) -> None:
        """Become another member, which holds none of the parent's claims."""
        self.fleet.after_fork_in_child()
        self.grants.after_fork_in_child()
        self.unpublished.after_fork_in_child()
        self.one_time.after_fork_in_child()


def join_fleet(
    state: KeeperState,
    background: Background,
    runner: Runner,
    store: Any,
    cooldown_seconds: float,
) -> Membership:
    """Return what a keeper needs to share tokens through *store*.

    :param store: as :class:`~tokenkeeper.TokenKeeper` takes it; ``None`` for the memory of this
        process, which shares nothing with others.
    :raises InvalidConfigurationError: if *store* can't be opened.
    """
    retry, clock, jitter = runner.retry, runner.clock, runner.jitter
    settings = opened(MemoryTokenStore(clock) if store is None else store)
    fleet = Fleet(settings, clock=clock, jitter=jitter, report=state.report)
    unpublished = Unpublished(fleet, background, clock)
    one_time = OneTimeRequests(unpublished, outlives=store is not None)
    is_detached = fleet.settings.detached
    detached = DetachedRequests(fleet, retry, cooldown_seconds) if is_detached else None
    adoption = Adoption(fleet, state, clock)
    looks = Looks(
        fleet,
        adoption,
        report=state.report,
        cooldown_seconds=cooldown_seconds,
        clock=clock,
        jitter=jitter,
    )
    grants = Grants(is_private=store is None)
    requests = FleetRequests(
        fleet,
        adoption,
        looks,
        grants,
        unpublished,
        one_time,
        detached=detached,
        ask=runner.ask,
        retry=retry,
        cooldown_seconds=cooldown_seconds,
        clock=clock,
    )
    attempts = FleetAttempts(
        fleet, looks, requests, grants, ask=runner.ask, clock=clock, jitter=jitter
    )
    return Membership(attempts, fleet, grants, unpublished, one_time, detached)
