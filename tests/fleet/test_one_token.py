"""Processes that share a store make one request for one need."""

import pytest
from kit.fleets.engines import running_engine

from fleet import scenarios

ENGINES = ["sqlite", "valkey", "postgresql"]


@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_sixteen_processes(engine):
    """Sixteen processes on one store make at most one request more than there are tokens."""
    scenarios.one_token(engine).check()


@pytest.mark.parametrize("engine", ["none"], indirect=True)
def test_without_a_store(engine):
    """Without a store, each process makes the requests on its own."""
    scenarios.one_token(engine, seconds=4.0).check()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_forty_eight_cold_processes(engine):
    """Processes that start together make one request."""
    scenarios.cold(engine).check()


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_woken_together(engine):
    """Processes of a machine that slept make one request when it wakes."""
    scenarios.woken(engine).check()


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_one_rejection_for_all(engine):
    """Processes that meet a 401 at the same time make one request."""
    scenarios.rejected(engine).check()


@pytest.mark.parametrize("engine", ["valkey"], indirect=True)
def test_a_server_that_is_down(engine):
    """A server that is down for ten seconds gets twelve requests at most, of all processes."""
    scenarios.server_down(engine).check()


def test_key_rotation():
    """Keys that are rotated in the right order cost no request."""
    scenarios.key_rotation("valkey", running_engine).check()
