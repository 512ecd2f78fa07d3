"""Metrics on a real ``/metrics`` page."""

import math
import os
import socket
import ssl
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import prometheus_client
import pytest
import requests
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from tokenkeeper import GenericOAuth2Provider, RetryPolicy, TokenAcquisitionError, TokenKeeper
from tokenkeeper.events import CooledDown
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.testing import (
    LoopbackAuthorizationServer,
    MockProvider,
    SteppedClock,
)

ONCE = RetryPolicy(attempts=1)
WRONG_SECRET = TokenAcquisitionError("no", error="invalid_client", status_code=401)


@pytest.fixture
def registry():
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def keeper(registry, clock):
    """Return a keeper whose hooks have run when a call returns."""
    with TokenKeeper(hooks=[PrometheusHook(registry)], clock=clock, background=False) as keeper:
        yield keeper


@pytest.fixture
def provider(keeper, clock):
    provider = MockProvider("api", clock=clock, retry=ONCE)
    keeper.add_provider(provider)
    return provider


@pytest.fixture
def value(registry):
    """Return a look-up of one sample."""

    def value(name, **labels):
        return registry.get_sample_value(f"tokenkeeper_{name}", {"provider": "api", **labels})

    return value


def test_a_scrape(registry):
    """A page that is scraped over HTTP has the metrics of a keeper with a real server."""
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
    """Tokens that came are counted by kind, with their requests, their time and their end."""
    keeper.get_token("api")
    keeper.get_token("api", force_refresh=True)
    assert value("tokens_granted_total", kind="acquired") == 1
    assert value("tokens_granted_total", kind="renewed") == 1
    assert value("token_requests_total") == 2
    assert value("token_acquisition_duration_seconds_count") == 2
    assert value("token_expiry_timestamp_seconds") == clock.time() + 3600
    assert value("token_consecutive_failures") == 0


def test_counters_are_there_before_they_count(keeper, provider, value):
    """What has not happened yet to a provider is 0, so that its first time is an increase."""
    keeper.get_token("api")
    assert value("tokens_granted_total", kind="renewed") == 0
    for name in ("tokens_served_stale", "cooldowns", "tokens_refused", "tokens_cleared"):
        assert value(f"{name}_total") == 0


def test_failures(keeper, provider, value, clock):
    """Failures are counted by reason, and in a row until one works."""
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
    """A failed renewal before the end is told apart."""
    keeper.get_token("api")
    provider.script.append(TokenAcquisitionError("down", status_code=503))
    clock.step(3400)
    keeper.get_token("api")
    assert value("token_failures_total", kind="renewal", reason="http_503") == 1
    assert value("tokens_served_stale_total") == 1
    assert value("cooldowns_total") == 0


def test_refused_and_cleared(keeper, provider, value):
    """A token that an API refused is counted; one that was cleared ends never."""
    keeper.renew_refused("api", keeper.get_token("api"))
    keeper.clear_token("api")
    assert value("tokens_refused_total") == value("tokens_cleared_total") == 1
    assert value("token_expiry_timestamp_seconds") == math.inf


def test_no_token_any_more(keeper, provider, value, clock):
    """While none can be had the end is where the last one ended, whatever its lifetime said."""
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
def test_no_token_ever(keeper, provider, value, clock, cleared):
    """Where there was none, or it was cleared, the end is the first failure."""
    if cleared:
        keeper.get_token("api")
        keeper.clear_token("api")
    provider.script.append(WRONG_SECRET)
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert value("token_expiry_timestamp_seconds") == clock.time()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(), "connection_refused"),
        (socket.gaierror(-2, "no such name"), "dns"),
        (ssl.SSLError(1, "no"), "tls"),
        (TimeoutError(), "timeout"),
        (requests.ReadTimeout(), "timeout"),
        (ConnectionResetError(), "connection_broken"),
        (TokenAcquisitionError("no", network_reason="dns"), "dns"),
        (TokenAcquisitionError("no", network_reason="made up 8c1f"), "other"),
        (
            TokenAcquisitionError("no", network_reason="dns", error="invalid_client"),
            "invalid_client",
        ),
    ],
)
def test_network_failures_are_named(keeper, provider, value, error, reason):
    """Where no answer came, the reason is why."""
    provider.script.append(error)
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert value("token_failures_total", kind="acquisition", reason=reason) == 1


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
    ],
)
def test_reasons_are_few(keeper, provider, value, error, status, reason):
    """Whatever a server says, there are no more reasons than codes and statuses."""
    provider.script.append(TokenAcquisitionError("no", error=error, status_code=status))
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert value("token_failures_total", kind="acquisition", reason=reason) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_waits_for_the_client(registry, monkeypatch, fork_while):
    """No child is born while the client's locks are held: they would be held in it for ever."""
    hook = PrometheusHook(registry)

    def count(entered, go_on):
        def labels(_):
            entered.set()
            assert go_on.wait(20)
            return cooldowns

        cooldowns = hook._cooldowns.labels("api")
        monkeypatch.setattr(hook._cooldowns, "labels", labels)
        hook(CooledDown("api", datetime.now(UTC), 30.0))

    assert fork_while(count)


def test_hooks_of_one_registry_share_its_metrics(registry, keeper, provider, value, clock):
    """A second hook, as of a module that is imported twice, counts into the same metrics."""
    with TokenKeeper(hooks=[PrometheusHook(registry)], clock=clock, background=False) as other:
        other.add_provider(MockProvider("api", clock=clock))
        other.get_token("api")
        keeper.get_token("api")
        assert value("tokens_granted_total", kind="acquired") == 2
        other.clear_token("api")
        assert value("token_expiry_timestamp_seconds") == math.inf


def test_hooks_that_are_made_at_once(registry):
    """Threads that make hooks for one registry at the same moment get one set of metrics."""
    with ThreadPoolExecutor(8) as threads:
        hooks = list(threads.map(lambda _: PrometheusHook(registry), range(8)))
    assert len({id(hook._granted) for hook in hooks}) == 1


def test_metrics_of_somebody_else(registry):
    """Metrics of the same names that no hook made are refused, as by the client itself."""
    prometheus_client.Counter("tokenkeeper_cooldowns", "Mine.", registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusHook(registry)


IMPORTED_TWICE = """
    import runpy
    from tokenkeeper import TokenKeeper
    from tokenkeeper.integrations.prometheus import PrometheusHook

    keeper = TokenKeeper(hooks=[PrometheusHook()])
    if __name__ == "__main__":
        import main
        assert main.keeper is not keeper
        print("worked")
"""


def test_a_module_that_is_imported_twice(tmp_path):
    """A program that is imported once more by its name, as by uvicorn, starts."""
    program = tmp_path / "main.py"
    program.write_text(textwrap.dedent(IMPORTED_TWICE))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.returncode) == ("worked", 0), done.stderr


CHILDREN_OF_A_WARM_MASTER = """
    import os, sys
    import prometheus_client
    from prometheus_client.multiprocess import MultiProcessCollector
    from tokenkeeper import TokenKeeper
    from tokenkeeper.integrations.prometheus import PrometheusHook
    from tokenkeeper.testing import MockProvider, SteppedClock

    clock = SteppedClock(wall=1_900_000_000)
    theirs = prometheus_client.Counter("theirs", "Something else that is counted.")
    keeper = TokenKeeper(hooks=[PrometheusHook()], clock=clock, background=False)
    for name in ("api", "other"):
        keeper.add_provider(MockProvider(name, clock=clock))
    keeper.get_token("api")
    keeper.get_token("other")
    keeper.clear_token("other")

    def gauge(name):
        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry)
        value = registry.get_sample_value(
            "tokenkeeper_token_expiry_timestamp_seconds", {"provider": name}
        )
        return value - clock.time()

    def renew():
        keeper.get_token("api", force_refresh=True)

    def live(generation=0):
        WHAT
        if generation:
            fork(generation - 1)

    def fork(generation):
        pid = os.fork()
        if not pid:
            live(generation)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0

    for _ in range(2):
        fork(1)
    print(gauge("api"), gauge("other"))
    clock.step(3300)
    fork(0)
    renew()
    print(gauge("api"))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.parametrize(
    ("what", "ends"),
    [
        ("pass", 3600),
        ("theirs.inc()", 300),
        ("keeper.get_token('api')", None),
        ("keeper.get_token('other')", None),
        ("renew()", 300),
    ],
)
def test_children_of_a_warm_master(tmp_path, what, ends):
    """In the multiprocess mode a child's gauge says when the token expires that it inherited."""
    done = subprocess.run(
        [
            *(sys.executable, "-W", "error", "-c"),
            textwrap.dedent(CHILDREN_OF_A_WARM_MASTER.replace("WHAT", what)),
        ],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    warm, late = done.stdout.splitlines()
    assert float(warm.split()[0]) == 3600.0
    assert float(late) > 0.0
    if ends is not None:
        assert float(late) == ends


WORKERS = """
    import os
    import prometheus_client
    from prometheus_client.multiprocess import MultiProcessCollector
    from tokenkeeper import TokenKeeper
    from tokenkeeper.integrations.prometheus import PrometheusHook
    from tokenkeeper.testing import StaticProvider

    keeper = TokenKeeper(hooks=[PrometheusHook()])
    keeper.add_provider(StaticProvider("api", "a token"))
    children = []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            keeper.get_token("api")
            keeper.close()
            os._exit(0)
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    registry = prometheus_client.CollectorRegistry()
    MultiProcessCollector(registry)
    labels = {"provider": "api", "kind": "acquired"}
    print(registry.get_sample_value("tokenkeeper_tokens_granted_total", labels))
"""


def test_forked_workers(tmp_path):
    """In the multiprocess mode the tokens of all workers are counted together."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(WORKERS)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.returncode) == ("3.0", 0), done.stderr


WORST_WORKER = """
    import os
    import prometheus_client
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
    from tokenkeeper import RetryPolicy, TokenAcquisitionError, TokenKeeper
    from tokenkeeper.integrations.prometheus import PrometheusHook
    from tokenkeeper.testing import MockProvider, SteppedClock

    clock = SteppedClock(wall=1_900_000_000)
    provider = MockProvider("api", clock=clock, retry=RetryPolicy(attempts=1))
    keeper = TokenKeeper(hooks=[PrometheusHook()], clock=clock, background=False)
    keeper.add_provider(provider)

    def work(lifetime_seconds):
        provider.lifetime_seconds = lifetime_seconds
        keeper.get_token("api")
        if lifetime_seconds == 1000:
            provider.script.append(TokenAcquisitionError("no", status_code=503))
            try:
                keeper.get_token("api", force_refresh=True)
            except TokenAcquisitionError:
                pass
        if lifetime_seconds == 3000:
            keeper.clear_token("api")

    def gauge(name):
        registry = prometheus_client.CollectorRegistry()
        MultiProcessCollector(registry)
        return registry.get_sample_value(f"tokenkeeper_token_{name}", {"provider": "api"})

    pids = []
    for lifetime_seconds in (2000, 1000, 3000):
        pid = os.fork()
        if not pid:
            work(lifetime_seconds)
            os._exit(0)
        pids.append(pid)
        assert os.waitpid(pid, 0)[1] == 0
    print(gauge("expiry_timestamp_seconds") - clock.time(), gauge("consecutive_failures"))
    mark_process_dead(pids[1])  # as gunicorn's child_exit does
    print(gauge("expiry_timestamp_seconds") - clock.time(), gauge("consecutive_failures"))
"""


def test_the_worst_worker_counts(tmp_path):
    """Of several processes a gauge shows the worst; one that cleared its token, or ended, none."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(WORST_WORKER)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1000.0", "1.0", "2000.0", "0.0"]


def test_openmetrics(registry, keeper, provider):
    """The page can be had in the OpenMetrics format too, as Prometheus asks for it."""
    keeper.get_token("api")
    text = openmetrics.generate_latest(registry).decode()
    families = {family.name: family for family in openmetrics_families(text)}
    assert families["tokenkeeper_tokens_granted"].type == "counter"
    assert families["tokenkeeper_token_expiry_timestamp_seconds"].type == "gauge"


OUTCOMES = {
    "acquired": lambda keeper, provider: keeper.get_token("api"),
    "renewed": lambda keeper, provider: keeper.get_token("api", force_refresh=True),
    "refused": lambda keeper, provider: keeper.renew_refused("api", keeper.get_token("api")),
    "failed": lambda keeper, provider: _fail(keeper, provider, error="invalid_client"),
    "failed otherwise": lambda keeper, provider: _fail(keeper, provider, status_code=418),
    "cleared": lambda keeper, provider: keeper.clear_token("api"),
}


def _fail(keeper, provider, **fields):
    provider.script.append(TokenAcquisitionError("no", **fields))
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api", force_refresh=True)


def _series(registry, provider):
    return [
        sample
        for family in registry.collect()
        for sample in family.samples
        if sample.labels.get("provider") == provider
    ]


class TestLabels:
    """How many time series there are, and how long."""

    @pytest.mark.parametrize("last", OUTCOMES)
    def test_removed_with_their_provider(self, keeper, provider, registry, clock, last):
        """A provider that is removed leaves no time series, and the others keep theirs."""
        keeper.add_provider(MockProvider("other", clock=clock))
        keeper.get_token("other")
        for outcome in OUTCOMES.values():
            outcome(keeper, provider)
        OUTCOMES[last](keeper, provider)
        before = len(_series(registry, "other"))
        assert _series(registry, "api")
        keeper.remove_provider("api")
        assert not _series(registry, "api")
        assert len(_series(registry, "other")) == before

    def test_a_provider_that_comes_back(self, keeper, provider, value, clock):
        """A name that is registered again is counted from the start."""
        keeper.get_token("api")
        keeper.remove_provider("api")
        keeper.add_provider(MockProvider("api", clock=clock))
        keeper.get_token("api")
        assert value("tokens_granted_total", kind="acquired") == 1
        assert value("cooldowns_total") == 0

    def test_removed_without_an_event_before(self, keeper, provider, registry):
        """A provider that nobody asked for has no time series to remove."""
        keeper.remove_provider("api")
        assert not _series(registry, "api")

    def test_as_many_as_the_limit(self, clock):
        """Providers beyond the limit share one label, without gauges, until there is room."""
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
                sample.labels["provider"]
                for family in registry.collect()
                for sample in family.samples
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
            keeper.remove_provider("c9")  # which has no label of its own to give
            keeper.remove_provider("c0")
            keeper.get_token("c1")
            keeper.get_token("c8")
            assert _series(registry, "c8")
            assert not _series(registry, "c0")
            assert _series(registry, "_other")


REMOVED = """
    import prometheus_client
    from prometheus_client.multiprocess import MultiProcessCollector
    from tokenkeeper import TokenKeeper
    from tokenkeeper.integrations.prometheus import PrometheusHook
    from tokenkeeper.testing import StaticProvider

    with TokenKeeper(hooks=[PrometheusHook()], background=False) as keeper:
        keeper.add_provider(StaticProvider("api", "a token"))
        keeper.get_token("api")
        keeper.remove_provider("api")
    registry = prometheus_client.CollectorRegistry()
    MultiProcessCollector(registry)
    labels = {"provider": "api"}
    name = "tokenkeeper_token_expiry_timestamp_seconds"
    print(registry.get_sample_value(name, labels))
"""


def test_removed_in_the_multiprocess_mode(tmp_path):
    """Where the client can't remove a time series, it warns of nothing, and neither do we."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(REMOVED)],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("inf", "", 0)
