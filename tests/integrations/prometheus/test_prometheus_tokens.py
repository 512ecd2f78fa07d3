"""Several tokens of one provider: the worst of them counts, and no label names them."""

import math
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    ProviderRemoved,
    RenewalFailed,
    TokenAcquired,
    TokenCleared,
)
from tokenkeeper.integrations.prometheus import PrometheusHook

NOW = datetime(2030, 1, 1, tzinfo=UTC)
T = NOW.timestamp()
CHOSEN = 'entra\n{"account":"jane@example.com"}'


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def report(registry):
    """Return a function that reports an event of a token."""
    hook = PrometheusHook(registry)

    def report(kind, *values, name="entra"):
        hook(kind("entra", NOW, *values, token_name=name))

    return report


@pytest.fixture
def value(registry):
    """Return a function that reads a gauge of the provider."""
    return lambda name: registry.get_sample_value(f"tokenkeeper_{name}", {"provider": "entra"})


def granted(report, remaining, name="entra"):
    report(TokenAcquired, 1, 0.1, remaining, name=name)


def test_the_earliest_expiry(report, value):
    """The expiry is that of the token that expires first."""
    granted(report, 3600)
    granted(report, 600, CHOSEN)
    assert value("token_expiry_timestamp_seconds") == T + 600
    granted(report, 60)
    assert value("token_expiry_timestamp_seconds") == T + 60


def test_a_token_that_is_cleared(report, value):
    """A token that is cleared no longer counts; without any, all is well."""
    granted(report, 3600)
    granted(report, 600, CHOSEN)
    report(TokenCleared, name=CHOSEN)
    assert value("token_expiry_timestamp_seconds") == T + 3600
    report(TokenCleared)
    assert value("token_expiry_timestamp_seconds") == math.inf


def test_failures(report, value):
    """The token with the most failures counts, and a success of another does not hide it."""
    granted(report, 3600)
    granted(report, 3600, CHOSEN)
    for _ in range(2):
        report(RenewalFailed, 1, 0.1, 600, None, 503, "no", name=CHOSEN)
    granted(report, 3600)
    assert value("token_consecutive_failures") == 2
    granted(report, 3600, CHOSEN)
    assert value("token_consecutive_failures") == 0


def test_a_token_that_was_never_granted(report, value):
    """One bad request of a caller's own choice does not stay an alarm."""
    granted(report, 3600)
    report(AcquisitionFailed, 1, 0.1, 0, "invalid_grant", 400, "no", name=CHOSEN)
    report(CooledDown, 30.0, name=CHOSEN)
    assert value("token_expiry_timestamp_seconds") == T + 3600
    assert value("token_consecutive_failures") == 0
    assert value("cooldown_end_timestamp_seconds") == 0
    assert value("token_last_failure_timestamp_seconds") == T


def test_the_registration_s_own(report, value):
    """A first failure of the registration's own token is an alarm."""
    report(AcquisitionFailed, 1, 0.1, 0, "invalid_client", 401, "no")
    report(CooledDown, 30.0)
    assert value("token_expiry_timestamp_seconds") == T
    assert value("token_consecutive_failures") == 1
    assert value("cooldown_end_timestamp_seconds") == T + 30


def test_no_label_names_a_token(report, registry):
    """Labels have the provider's name alone: a token's may contain personal data."""
    granted(report, 3600, CHOSEN)
    report(RenewalFailed, 1, 0.1, 0, None, 503, "no", name=CHOSEN)
    assert b"jane" not in generate_latest(registry)


def test_a_provider_that_is_removed(report, value):
    """All of its tokens leave with it."""
    granted(report, 3600)
    granted(report, 600, CHOSEN)
    report(ProviderRemoved)
    assert value("token_expiry_timestamp_seconds") is None
    granted(report, 7200)
    assert value("token_expiry_timestamp_seconds") == T + 7200
