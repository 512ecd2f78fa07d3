"""How each event changes the metrics, on a real ``/metrics`` page too."""

import math

import prometheus_client
import pytest
import requests
from integrations.network_failures import NETWORK_FAILURES
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from tokenkeeper import GenericOAuth2Provider, TokenAcquisitionError, TokenKeeper
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.testing import LoopbackAuthorizationServer

WRONG_SECRET = TokenAcquisitionError("no", error="invalid_client", status_code=401)


def test_a_scrape(registry):
    """A page that is scraped over HTTP shows the metrics of a keeper with a real server."""
    scraped, serving = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    try:
        with (
            LoopbackAuthorizationServer() as server,
            TokenKeeper(hooks=[PrometheusHook(registry)]) as keeper,
        ):
            keeper.add_provider(GenericOAuth2Provider(server.config("billing")))
            keeper.add_provider(
                GenericOAuth2Provider(server.config("wrong", client_secret="no secret"))
            )
            keeper.get_token("billing")
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token("wrong")
        page = requests.get(f"http://127.0.0.1:{scraped.server_port}/metrics", timeout=30)
    finally:
        scraped.shutdown()
        scraped.server_close()
        serving.join(30)
    samples = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }

    def sample(name, *labels):
        return samples[f"tokenkeeper_{name}", frozenset(labels)]

    assert sample("tokens_granted_total", "billing", "acquired") == 1
    assert sample("token_failures_total", "wrong", "acquisition", "invalid_client") == 1
    assert sample("token_acquisition_duration_seconds_count", "billing") == 1
    assert "no secret" not in page.text


def test_granted(keeper, provider, value, clock):
    """Granted tokens are counted by kind, with their requests, duration and expiry."""
    keeper.get_token("api")
    keeper.get_token("api", force_refresh=True)
    assert value("tokens_granted_total", kind="acquired") == 1
    assert value("tokens_granted_total", kind="renewed") == 1
    assert value("token_requests_total") == 2
    assert value("token_acquisition_duration_seconds_count") == 2
    assert value("token_expiry_timestamp_seconds") == clock.time() + 3600
    assert value("token_consecutive_failures") == 0


def test_counters_are_there_before_they_count(keeper, provider, value):
    """Counters of a provider start at 0, so that the first event is an increase."""
    keeper.get_token("api")
    assert value("tokens_granted_total", kind="renewed") == 0
    for name in ("tokens_served_stale", "cooldowns", "tokens_refused", "tokens_cleared"):
        assert value(f"{name}_total") == 0


def test_failures(keeper, provider, value, clock):
    """Failures are counted by reason, and consecutively until a request succeeds."""
    provider.script.extend([WRONG_SECRET, WRONG_SECRET])
    for _ in range(2):
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api", force_refresh=True)
    assert value("token_failures_total", kind="acquisition", reason="invalid_client") == 2
    assert value("token_consecutive_failures") == 2
    assert value("token_last_failure_timestamp_seconds") == clock.time()
    assert value("cooldowns_total") == 2
    assert value("cooldown_end_timestamp_seconds") == clock.time() + 30
    keeper.get_token("api", force_refresh=True)
    assert value("token_consecutive_failures") == value("cooldown_end_timestamp_seconds") == 0


def test_served_stale(keeper, provider, value, clock):
    """A failed renewal of a token that is still valid is counted separately."""
    keeper.get_token("api")
    provider.script.append(TokenAcquisitionError("down", status_code=503))
    clock.step(3400)
    keeper.get_token("api")
    assert value("token_failures_total", kind="renewal", reason="http_503") == 1
    assert value("tokens_served_stale_total") == 1
    assert value("cooldowns_total") == 0


def test_refused_and_cleared(keeper, provider, value):
    """Refused and cleared tokens are counted, and a cleared one has an infinite expiry."""
    keeper.renew_refused("api", keeper.get_token("api"))
    keeper.clear_token("api")
    assert value("tokens_refused_total") == value("tokens_cleared_total") == 1
    assert value("token_expiry_timestamp_seconds") == math.inf


def test_no_token_after_a_refusal(keeper, provider, value, clock):
    """Without a token, the expiry is when the last one stopped working, not its own expiry."""
    token = keeper.get_token("api")
    clock.step(100)
    provider.script.extend([WRONG_SECRET, WRONG_SECRET])
    refused_at = clock.time()
    with pytest.raises(TokenAcquisitionError):
        keeper.renew_refused("api", token)
    assert value("token_expiry_timestamp_seconds") == refused_at
    clock.step(100)
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api", force_refresh=True)
    assert value("token_expiry_timestamp_seconds") == refused_at
    keeper.get_token("api", force_refresh=True)
    assert value("token_expiry_timestamp_seconds") == clock.time() + 3600


@pytest.mark.parametrize("cleared", [False, True])
def test_no_token_at_all(keeper, provider, value, clock, cleared):
    """If there was no token, or it was cleared, the expiry is the time of the first failure."""
    if cleared:
        keeper.get_token("api")
        keeper.clear_token("api")
    provider.script.append(WRONG_SECRET)
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert value("token_expiry_timestamp_seconds") == clock.time()


@pytest.mark.parametrize(("error", "reason"), NETWORK_FAILURES)
def test_network_failures_are_named(keeper, provider, value, error, reason):
    """A request without a response is counted by the cause."""
    provider.script.append(error)
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert value("token_failures_total", kind="acquisition", reason=(reason or "other")) == 1


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        ("invalid_scope", 400, "invalid_scope"),
        ("INVALID_CLIENT", 401, "invalid_client"),
        ("bad_client_secret", 200, "invalid_client"),
        ("RESOURCE_EXHAUSTED", 400, "too_many_requests"),
        (None, 599, "http_5xx"),
        (None, 999, "other"),
        ("made up 8c1f", 400, "http_400"),
        (None, 502, "http_502"),
        (None, None, "other"),
        ("made up 8c1f", None, "other"),
        pytest.param(5, 503, "http_503", id="error-int"),
        pytest.param(["invalid_client"], None, "other", id="error-list"),
        pytest.param(b"invalid_client", None, "other", id="error-bytes"),
        pytest.param(None, "503", "other", id="status-str"),
        pytest.param(None, 503.5, "other", id="status-float"),
    ],
)
def test_reasons_are_few(keeper, provider, value, error, status, reason):
    """Whatever a server or a provider says, the reasons are known codes and statuses only."""
    provider.script.append(
        TokenAcquisitionError("no", error=error, status_code=status, transient=False)
    )
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert value("token_failures_total", kind="acquisition", reason=reason) == 1


def test_openmetrics(registry, keeper, provider):
    """The page is also available in the OpenMetrics format, which Prometheus requests."""
    keeper.get_token("api")
    text = openmetrics.generate_latest(registry).decode()
    families = {family.name: family for family in openmetrics_families(text)}
    assert families["tokenkeeper_tokens_granted"].type == "counter"
    assert families["tokenkeeper_token_expiry_timestamp_seconds"].type == "gauge"
