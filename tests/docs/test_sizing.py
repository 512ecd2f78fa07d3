"""The formula of the page on sizing, and the simulation that it is compared with."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def simulation(monkeypatch):
    """Return the module that simulates a fleet."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("fleet_simulation")


@pytest.mark.parametrize(
    ("sharers", "lifetime", "takes"),
    [
        (1, 3600.0, 0.25),
        (10, 3600.0, 0.25),
        (10, 3600.0, 2.0),
        (50, 3600.0, 8.0),
        (200, 3600.0, 0.5),
        (30, 600.0, 0.1),
    ],
)
def test_formula_and_simulation_agree(simulation, sharers, lifetime, takes):
    """Both say the same, within a fifth."""
    load = simulation.Load(2000 // sharers, sharers, lifetime=lifetime, takes=takes)
    counted = simulation.simulate(load)
    assert counted.mean == pytest.approx(simulation.formula(load), rel=0.2)
    assert max(counted.by_second) >= counted.mean


def test_one_request_for_each_token(simulation):
    """However many processes share a token, it is requested once in each period."""
    counted = simulation.simulate(simulation.Load(100, 20))
    assert counted.requests == pytest.approx(100, abs=5)
    assert counted.operations["publish"] == pytest.approx(100, abs=5)


def test_a_start(simulation):
    """When all processes start at once, one of them requests the token, and all others look."""
    load = simulation.Load(1, 500, starts_within=1.0)
    counted = simulation.simulate(load, seconds=60)
    assert counted.requests == 1
    assert counted.operations["read"] >= 500


def test_utilization(simulation):
    """An operation that takes a millisecond, a hundred times a second, is a tenth of a core."""
    operations = {"read": 6000, "claim": 0, "publish": 0}
    counted = simulation.Counted(60, operations=operations)
    costs = {"read": 1000, "claim": 0, "publish": 0}
    assert counted.utilization(costs) == pytest.approx(0.1)
