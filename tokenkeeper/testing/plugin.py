"""A pytest plugin with fixtures: a keeper, a server for it, their clock and their events.

pytest loads it automatically wherever Tokenkeeper is installed, so it imports almost nothing before
a fixture is used. A fixture of the same name in a test suite overrides one of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tokenkeeper import OAuth2TokenManager, TokenKeeper
    from tokenkeeper.clock import Clock
    from tokenkeeper.testing import EventRecorder, LoopbackAuthorizationServer, SteppedClock

__all__ = ["keeper", "stepped_clock", "token_events", "token_manager", "token_server"]

# Failures of the conformance tests show values, as those of a test module do.
pytest.register_assert_rewrite(
    "tokenkeeper.testing.store_contract_claims",
    "tokenkeeper.testing.store_contract_processes",
    "tokenkeeper.testing.store_contract_records",
)

PROVIDER_NAME = "api"
"""The provider's name for the server's client."""


@pytest.fixture
def stepped_clock() -> Iterator[SteppedClock]:
    """Return a clock that only ``step()`` and waits before a retry move.

    In a test that uses it, ``keeper`` and ``token_server`` use this clock too, and so do all
    servers and providers of :mod:`tokenkeeper.testing` that were created without one.
    """
    from tokenkeeper.testing import SteppedClock
    from tokenkeeper.testing.current import CURRENT_CLOCK

    clock = SteppedClock(auto_step="retries")
    with CURRENT_CLOCK.set_to(clock):
        yield clock


@pytest.fixture
def _token_clock(request: pytest.FixtureRequest) -> Clock:
    """Return the clock of the test: the stepped one if the test uses it."""
    if "stepped_clock" in request.fixturenames:
        stepped: Clock = request.getfixturevalue("stepped_clock")
        return stepped
    from tokenkeeper.clock import SYSTEM_CLOCK

    return SYSTEM_CLOCK


@pytest.fixture
def token_server(_token_clock: Clock) -> Iterator[LoopbackAuthorizationServer]:
    """Return a running authorization server with a protected API, on loopback."""
    from tokenkeeper.testing import LoopbackAuthorizationServer

    with LoopbackAuthorizationServer(clock=_token_clock) as server:
        yield server


@pytest.fixture
def token_events() -> EventRecorder:
    """Return a recorder of the events of ``keeper``; ``wait_for()`` waits for one."""
    from tokenkeeper.testing import EventRecorder

    return EventRecorder()


@pytest.fixture
def keeper(
    request: pytest.FixtureRequest, _token_clock: Clock, token_events: EventRecorder
) -> Iterator[TokenKeeper]:
    """Return a keeper that is the process-wide default until the test ends.

    In a test that uses ``token_server`` too, its provider "api" is the server's client.
    """
    from tokenkeeper import TokenKeeper
    from tokenkeeper.testing import default_keeper

    with TokenKeeper(clock=_token_clock, hooks=[token_events]) as keeper, default_keeper(keeper):
        if "token_server" in request.fixturenames:
            server: LoopbackAuthorizationServer = request.getfixturevalue("token_server")
            keeper.add_provider(server.provider(PROVIDER_NAME))
        yield keeper


@pytest.fixture
def token_manager(keeper: TokenKeeper) -> OAuth2TokenManager:
    """Return the async facade of ``keeper``, for ``async def`` tests."""
    from tokenkeeper import OAuth2TokenManager

    return OAuth2TokenManager(keeper)
