"""Fleets outlive killed holders, and stores that fail."""

import pytest

from fleet import outages


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_killed_holders(engine):
    """A holder that is killed costs one request more, and a wait of the takeover at most."""
    outages.killed_holders(engine).check()


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_a_store_that_hangs_at_the_renewal(engine):
    """A store that hangs while a token is due costs no request, and no caller waits for it."""
    outages.hanging_store(engine).check()


@pytest.mark.parametrize(
    ("engine", "how"),
    [
        ("sqlite", outages.Locked),
        ("valkey", outages.Hung),
        ("valkey", outages.Killed),
        ("postgresql", outages.Hung),
        ("postgresql", outages.Killed),
    ],
    indirect=["engine"],
)
def test_a_store_that_fails(engine, how):
    """While the store is gone, tokens are served and requested; afterwards it is shared again."""
    outages.outage(engine, how).check()
