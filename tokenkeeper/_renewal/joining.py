"""Connects a keeper with its fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenkeeper._renewal.adoption import Adoption
from tokenkeeper._renewal.coordinator import Coordinator
from tokenkeeper._renewal.detached import DetachedRequests
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.fleet_attempt import FleetAttempts
from tokenkeeper._renewal.fleet_request import FleetRequests
from tokenkeeper._renewal.grants import Grants
from tokenkeeper._renewal.looks import Looks
from tokenkeeper._renewal.one_time import OneTimeRequests
from tokenkeeper._renewal.unpublished import Unpublished
from tokenkeeper.clock import Clock
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.stores.base import TokenStore
from tokenkeeper.stores.settings import StoreSettings, opened

__all__ = ["Membership", "join_fleet"]


class Membership:
    """What a keeper with a store has in addition.

    :ivar fleet: its place in the fleet.
    :ivar grants: what this process knows of grants that work once.
    :ivar unpublished: tokens that are still to be stored.
    :ivar one_time: the requests that the end of the process waits for.
    :ivar detached: has helper processes make those requests; ``None`` without the setting.
    """

    def __init__(
        self,
        fleet: Fleet,
        grants: Grants,
        unpublished: Unpublished,
        one_time: OneTimeRequests,
        detached: DetachedRequests | None,
    ) -> None:
        self.fleet = fleet
        self.grants = grants
        self.unpublished = unpublished
        self.one_time = one_time
        self.detached = detached

    def check(self, provider: BaseOAuth2Provider) -> None:
        """Raise ``InvalidConfigurationError`` if *provider* can't be used with the settings."""
        if self.detached is not None:
            self.detached.check(provider)

    def after_fork_in_child(self) -> None:
        """Become another member, which holds none of the parent's claims."""
        self.fleet.after_fork_in_child()
        self.grants.after_fork_in_child()
        self.unpublished.after_fork_in_child()
        self.one_time.after_fork_in_child()


def join_fleet(
    coordinator: Coordinator,
    store: str | Mapping[str, Any] | TokenStore | StoreSettings,
    retry: RetryPolicy,
    cooldown_seconds: float,
    clock: Clock,
    jitter: Callable[[], float],
) -> None:
    """Have *coordinator* share its tokens through *store* from now on.

    :raises InvalidConfigurationError: if *store* can't be opened.
    """
    state, background, runner = coordinator.state, coordinator.background, coordinator.runner
    fleet = Fleet(opened(store), clock=clock, jitter=jitter, report=state.report)
    unpublished = Unpublished(fleet, background, clock)
    one_time = OneTimeRequests(unpublished)
    detached = None
    if fleet.settings.detached:
        detached = DetachedRequests(fleet, retry, cooldown_seconds)
    adoption = Adoption(fleet, state, clock)
    looks = Looks(
        fleet,
        adoption,
        report=state.report,
        cooldown_seconds=cooldown_seconds,
        clock=clock,
        jitter=jitter,
    )
    grants = Grants()
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
    runner.fleet = FleetAttempts(
        fleet, looks, requests, grants, ask=runner.ask, clock=clock, jitter=jitter
    )
    coordinator.membership = Membership(fleet, grants, unpublished, one_time, detached)
