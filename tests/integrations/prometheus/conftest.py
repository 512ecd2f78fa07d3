"""A keeper with a Prometheus hook, and a registry to look at."""

import prometheus_client
import pytest

from tokenkeeper import RetryPolicy, TokenKeeper
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.testing import MockProvider, SteppedClock

ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def registry():
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def keeper(registry, clock):
    """Return a keeper that runs its hooks before a call returns."""
    with TokenKeeper(hooks=[PrometheusHook(registry)], clock=clock, background=False) as keeper:
        yield keeper


@pytest.fixture
def provider(keeper, clock):
    provider = MockProvider("api", clock=clock, retry=ONCE)
    keeper.add_provider(provider)
    return provider


@pytest.fixture
def value(registry):
    """Return a function that looks up one sample of the provider "api"."""

    def value(name, **labels):
        return registry.get_sample_value(f"tokenkeeper_{name}", {"provider": "api", **labels})

    return value
