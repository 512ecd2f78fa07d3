"""Connects a keeper with its fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenkeeper._renewal.adoption import Adoption
from tokenkeeper._renewal.coordinator import Coordinator
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.fleet_attempt import FleetAttempts
from tokenkeeper._renewal.fleet_request import FleetRequests
from tokenkeeper._renewal.unpublished import Unpublished
from tokenkeeper.clock import Clock
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.stores.base import TokenStore
from tokenkeeper.stores.settings import StoreSettings, opened

__all__ = ["Membership", "join_fleet"]


class Membership:
    """What a keeper with a store has in addition.

    :ivar fleet: its place in the fleet.
    :ivar unpublished: tokens that are still to be stored.
    """

    def __init__(self, fleet: Fleet, unpublished: Unpublished) -> None:
        self.fleet = fleet
        self.unpublished = unpublished

    def after_fork_in_child(self) -> None:
        """Become another member, which holds none of the parent's claims."""
        self.fleet.after_fork_in_child()
        self.unpublished.after_fork_in_child()


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
    adoption = Adoption(fleet, state, clock)
    requests = FleetRequests(
        fleet,
        adoption,
        unpublished,
        ask=runner.ask,
        report=state.report,
        retry=retry,
        cooldown_seconds=cooldown_seconds,
        clock=clock,
    )
    runner.fleet = FleetAttempts(
        fleet,
        adoption,
        requests,
        ask=runner.ask,
        report=state.report,
        cooldown_seconds=cooldown_seconds,
        clock=clock,
        jitter=jitter,
    )
    coordinator.membership = Membership(fleet, unpublished)
