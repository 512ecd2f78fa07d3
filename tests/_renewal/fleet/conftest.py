"""A fleet on a stepped clock: several keepers, one store, one authorization server."""

import pytest
from kit.stores import FaultyStore, KeeperFleet, Server

from tokenkeeper.testing import SteppedClock


@pytest.fixture
def clock():
    """Return a clock that every wait steps: nothing else runs while a keeper waits."""
    return SteppedClock(auto_step=True)


@pytest.fixture
def store(clock):
    """Return a store that works until the test lets it fail."""
    return FaultyStore(clock)


@pytest.fixture
def server(clock):
    """Return a server whose grant can be repeated."""
    return Server(clock)


@pytest.fixture
def fleet(clock, store, server):
    """Return a fleet without a keeper yet; ``fleet.keeper()`` adds one."""
    fleet = KeeperFleet(clock, store, server)
    yield fleet
    fleet.close()


@pytest.fixture
def strict(clock):
    """Return a server whose refresh tokens work once, and which revokes a family on reuse."""
    return Server(clock, rotates=True)


@pytest.fixture
def family(clock, store, strict):
    """Return a fleet whose refresh tokens work once."""
    family = KeeperFleet(clock, store, strict)
    yield family
    family.close()


@pytest.fixture
def patient():
    """Return a clock that only the test steps, for keepers with threads."""
    return SteppedClock()


@pytest.fixture
def threaded(patient):
    """Return a fleet on that clock."""
    threaded = KeeperFleet(patient, FaultyStore(patient), Server(patient))
    yield threaded
    threaded.close()
