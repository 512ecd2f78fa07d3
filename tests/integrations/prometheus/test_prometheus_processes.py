"""Hooks that share a registry, and metrics of several processes."""

import math
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import prometheus_client
import pytest

from tokenkeeper import InvalidConfigurationError, TokenKeeper
from tokenkeeper.events import CooledDown
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.testing import MockProvider

MULTIPROCESS_MODE = "PROMETHEUS_MULTIPROC_DIR"


def run(program, folder):
    """Run *program* in the multiprocess mode, with files in *folder*."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**os.environ, MULTIPROCESS_MODE: str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_waits_for_the_client(registry, monkeypatch, fork_while):
    """A fork waits while the client's locks are held: the child would never get them released."""
    hook = PrometheusHook(registry)

    def count(entered, go_on):
        def labels(_):
            entered.set()
            assert go_on.wait(20)
            return cooldowns

        cooldowns = hook._metrics.cooldowns.labels("api")
        monkeypatch.setattr(hook._metrics.cooldowns, "labels", labels)
        hook(CooledDown("api", datetime.now(UTC), 30.0))

    assert fork_while(count)


def test_hooks_of_one_registry_share_its_metrics(registry, keeper, provider, value, clock):
    """A second hook, as in a module that is imported twice, counts in the same metrics."""
    with TokenKeeper(hooks=[PrometheusHook(registry)], clock=clock, background=False) as other:
        other.add_provider(MockProvider("api", clock=clock))
        other.get_token("api")
        keeper.get_token("api")
        assert value("tokens_granted_total", kind="acquired") == 2
        other.clear_token("api")
        assert value("token_expiry_timestamp_seconds") == math.inf


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"registry": None}, "registry must be a CollectorRegistry, not None"),
        ({"registry": prometheus_client.CollectorRegistry}, r"registry .* \(call it to create"),
        ({"max_providers": "10"}, "max_providers must be a whole number, not str"),
        ({"max_providers": -1}, "max_providers must be a number, 0 or more"),
    ],
    ids=["no registry", "class", "text", "negative"],
)
def test_mistakes(registry, arguments, problem):
    """A mistake is an error at once, and not one in the log at each event."""
    with pytest.raises(InvalidConfigurationError, match=problem):
        PrometheusHook(**{"registry": registry, **arguments})


def test_hooks_made_at_the_same_time(registry):
    """Threads that make hooks for a registry at the same time get one set of metrics."""
    with ThreadPoolExecutor(8) as threads:
        hooks = list(threads.map(lambda _: PrometheusHook(registry), range(8)))
    assert len({id(hook._metrics) for hook in hooks}) == 1


def test_foreign_metrics_of_the_same_name(registry):
    """Metrics of the same names from elsewhere are an error until they are unregistered."""
    mine = prometheus_client.Counter("tokenkeeper_cooldowns", "Mine.", registry=registry)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Duplicated timeseries.*tokenkeeper_cooldowns"):
            PrometheusHook(registry)
    assert [family.name for family in registry.collect()] == ["tokenkeeper_cooldowns"]
    registry.unregister(mine)
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
    """A program that is imported a second time by its name, as uvicorn does, starts."""
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
    ("what", "expires_in"),
    [
        ("pass", 3600),
        ("theirs.inc()", 300),
        ("keeper.get_token('api')", None),
        ("keeper.get_token('other')", None),
        ("renew()", 300),
    ],
)
def test_children_of_a_warm_master(tmp_path, what, expires_in):
    """In the multiprocess mode a child shows the expiry of the token that it inherited."""
    done = run(CHILDREN_OF_A_WARM_MASTER.replace("WHAT", what), tmp_path)
    assert done.returncode == 0, done.stderr
    warm, late = done.stdout.splitlines()
    assert float(warm.split()[0]) == 3600.0
    assert float(late) > 0.0
    if expires_in is not None:
        assert float(late) == expires_in


CHILD_WITHOUT_TOKENS = """
    import os
    import prometheus_client
    from prometheus_client.multiprocess import MultiProcessCollector
    from tokenkeeper import TokenKeeper
    from tokenkeeper.integrations.prometheus import PrometheusHook
    from tokenkeeper.testing import StaticProvider

    theirs = prometheus_client.Counter("theirs", "Something else that is counted.")
    keeper = TokenKeeper(hooks=[PrometheusHook()], background=False)
    for name in ("cleared", "removed"):
        keeper.add_provider(StaticProvider(name, "a token"))
        keeper.get_token(name)
    keeper.clear_token("cleared")
    keeper.remove_provider("removed")
    pid = os.fork()
    if not pid:
        theirs.inc()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    registry = prometheus_client.CollectorRegistry()
    MultiProcessCollector(registry)
    for name in ("cleared", "removed"):
        expiry = "tokenkeeper_token_expiry_timestamp_seconds"
        print(registry.get_sample_value(expiry, {"provider": name}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_of_a_master_without_tokens(tmp_path):
    """In the multiprocess mode a child shows no expiry of a token that was cleared before."""
    done = run(CHILD_WITHOUT_TOKENS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["inf", "inf"]


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
    """In the multiprocess mode the tokens of all workers are added up."""
    done = run(WORKERS, tmp_path)
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
    """A gauge shows the worst worker, without those that cleared their token or were stopped."""
    done = run(WORST_WORKER, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1000.0", "1.0", "2000.0", "0.0"]


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
    """In the multiprocess mode a removed provider shows +Inf, without a warning of the client."""
    done = run(REMOVED, tmp_path)
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("inf", "", 0)
