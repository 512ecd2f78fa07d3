"""The time series of each provider: when they are removed, and how many there are."""

import prometheus_client
import pytest
from prometheus_client.metrics import MetricWrapperBase

from tokenkeeper import AuthorizationRequiredError, TokenAcquisitionError, TokenKeeper
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.testing import MockProvider

WRONG_SECRET = TokenAcquisitionError("no", error="invalid_client", status_code=401)

OUTCOMES = {
    "acquired": lambda keeper, provider: keeper.get_token("api"),
    "renewed": lambda keeper, provider: keeper.get_token("api", force_refresh=True),
    "refused": lambda keeper, provider: keeper.renew_refused("api", keeper.get_token("api")),
    "failed": lambda keeper, provider: fail(keeper, provider, error="invalid_client"),
    "failed otherwise": lambda keeper, provider: fail(keeper, provider, status_code=418),
    "cleared": lambda keeper, provider: keeper.clear_token("api"),
}


def fail(keeper, provider, **fields):
    provider.script.append(TokenAcquisitionError("no", **fields))
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api", force_refresh=True)


def series(registry, provider):
    return [
        sample
        for family in registry.collect()
        for sample in family.samples
        if sample.labels.get("provider") == provider
    ]


@pytest.mark.parametrize("last", OUTCOMES)
def test_removed_with_their_provider(keeper, provider, registry, clock, last):
    """Removing a provider removes its time series, and the others keep theirs."""
    keeper.add_provider(MockProvider("other", clock=clock))
    keeper.get_token("other")
    for outcome in OUTCOMES.values():
        outcome(keeper, provider)
    OUTCOMES[last](keeper, provider)
    before = len(series(registry, "other"))
    assert series(registry, "api")
    keeper.remove_provider("api")
    assert not series(registry, "api")
    assert len(series(registry, "other")) == before


def test_removed_without_a_look_at_the_others(keeper, provider, registry, monkeypatch):
    """Removing a provider costs the same among a thousand: it does not go through their series."""
    for outcome in OUTCOMES.values():
        outcome(keeper, provider)

    def collect(self):
        looked_at.append(self)
        return collected(self)

    looked_at, collected = [], MetricWrapperBase.collect
    monkeypatch.setattr(MetricWrapperBase, "collect", collect)
    keeper.remove_provider("api")
    assert not looked_at
    assert not series(registry, "api")


def test_a_provider_that_comes_back(keeper, provider, value, clock):
    """A name that is registered again is counted from 0."""
    keeper.get_token("api")
    keeper.remove_provider("api")
    keeper.add_provider(MockProvider("api", clock=clock))
    keeper.get_token("api")
    assert value("tokens_granted_total", kind="acquired") == 1
    assert value("cooldowns_total") == 0


def test_removed_without_an_event_before(keeper, provider, registry):
    """A provider that was never used has no time series to remove."""
    keeper.remove_provider("api")
    assert not series(registry, "api")


def test_nothing_is_kept_of_providers_beyond_the_limit(registry, clock):
    """Providers beyond the limit cost no memory: of their failures nothing stays when they go."""
    hook = PrometheusHook(registry, max_providers=0)
    with TokenKeeper(hooks=[hook], clock=clock, background=False) as keeper:
        keeper.add_provider(provider := MockProvider("api", clock=clock))
        provider.script.append(AuthorizationRequiredError("a person has to", transient=False))
        with pytest.raises(AuthorizationRequiredError):
            keeper.get_token("api")
        keeper.remove_provider("api")
    metrics = hook._metrics
    kept = (metrics._expiries, metrics._failures, metrics._cooldown_ends)
    assert [values.all() for values in (*kept, metrics.sign_ins._needed_by)] == [[], [], [], []]


def test_the_limit(clock):
    """Providers beyond the limit share a label without gauges, until another one is removed."""
    registry = prometheus_client.CollectorRegistry()
    hook = PrometheusHook(registry, max_providers=3)
    with TokenKeeper(hooks=[hook], clock=clock, background=False) as keeper:
        for number in range(10):
            provider = MockProvider(f"c{number}", clock=clock)
            keeper.add_provider(provider)
            keeper.get_token(provider.provider_name)
            provider.script.append(WRONG_SECRET)
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token(provider.provider_name, force_refresh=True)
            keeper.clear_token(provider.provider_name)
        labels = {
            sample.labels["provider"] for family in registry.collect() for sample in family.samples
        }
        assert labels == {"c0", "c1", "c2", "_other"}
        granted = {"provider": "_other", "kind": "acquired"}
        assert registry.get_sample_value("tokenkeeper_tokens_granted_total", granted) == 7
        gauges = {
            family.name
            for family in registry.collect()
            for sample in family.samples
            if family.type == "gauge" and sample.labels["provider"] == "_other"
        }
        assert not gauges
        keeper.remove_provider("c9")  # it has no label to free
        keeper.remove_provider("c0")
        keeper.get_token("c1")
        keeper.get_token("c8")
        assert series(registry, "c8")
        assert not series(registry, "c0")
        assert series(registry, "_other")
