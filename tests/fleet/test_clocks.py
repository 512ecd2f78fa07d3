"""No clock of a fleet makes a process serve an expired token."""

import pytest

from fleet import clocks


def test_a_store_whose_clock_steps(tmp_path):
    """A store whose clock steps back, and forth again, causes no expired token and no error."""
    clocks.store_that_steps(tmp_path).check()


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_hosts_an_hour_apart(engine, tmp_path):
    """Hosts whose clocks differ by two hours cause no expired token, and the difference shows."""
    clocks.hosts_apart(engine, tmp_path).check()
