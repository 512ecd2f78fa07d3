"""The race tests again, while the interpreter switches threads as often as it can."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import pytest

import tokenkeeper
from tokenkeeper import InvalidConfigurationError, OAuth2TokenManager, TokenAcquisitionError

TINY_SECONDS = 1e-6
SECONDS = 600
"""How long a run may take. A test that hangs in it ends earlier, at the limit of each test."""

SELECTION = "not usual and not frantic"  # some tests of readers do this already

HERE = Path(__file__).parent
RACES = [
    "test_single_flight.py",  # 200 threads, 5000 tasks, cancellations, timeouts; shared refusals
    "test_readers.py",  # readers while the clock jumps and servers hang
    "test_forced_renewal.py",  # force_refresh, renew_refused, refresh_all by many callers
    "test_closing.py",  # close, clear and remove under load
    "test_async_providers.py",  # both fronts on async providers
    "test_forked_children.py",  # forks during a flight and under load
    "test_forks_under_locks.py",  # forks while a lock is held, or a module is imported
    "test_forks_beside_loops.py",  # forks of processes with an event loop, or inside one
]

PLUGIN = f"""
import sys

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    sys.setswitchinterval({TINY_SECONDS})
    return (yield)
"""


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("races", RACES)
def test_the_races_of(races, tmp_path):
    """All tests of the file pass in a process that switches threads at every opportunity."""
    (tmp_path / "tiny_switch_interval.py").write_text(PLUGIN, encoding="utf-8")
    home = str(Path(tokenkeeper.__file__).parent.parent)  # of the package under test
    options = ["-q", "-p", "tiny_switch_interval", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-k", SELECTION, str(HERE / races)],
        cwd=HERE.parent.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), home])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-10_000:]


@pytest.fixture
def tiny_switch_interval():
    """Let the interpreter switch threads as often as it can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(TINY_SECONDS)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_providers_change_under_readers_and_forks(kit, make_keeper, tiny_switch_interval):
    """While a provider is added, removed and cleared, callers get a token or a clear error.

    Another provider, which is not changed, works all the time, in forked children too.
    """
    steady = kit.Source("steady")
    keeper = make_keeper(steady)
    manager = OAuth2TokenManager(keeper)
    token = keeper.get_token("steady")
    sources, got, told, done = [], [], set(), threading.Event()

    def replace():
        source = kit.AsyncSource() if len(sources) % 2 else kit.Source()
        keeper.add_provider(source)
        sources.append(source)
        keeper.remove_provider("api")

    def read():
        assert keeper.get_token("steady") == token
        got.append(keeper.get_token("api"))

    async def read_in_a_loop():
        assert await manager.get_token("steady") == token
        got.append(await manager.get_token("api"))

    calls = [
        *[replace, replace, read, read],
        lambda: keeper.get_token("api", force_refresh=True),
        lambda: keeper.clear_token("api"),
        lambda: keeper.renew_refused("api", "a token that an API refused"),
        lambda: anyio.run(read_in_a_loop),
        lambda: anyio.run(read_in_a_loop, backend="trio"),
    ]

    def until_done(call):
        while not done.is_set():
            try:
                call()
            except (InvalidConfigurationError, TokenAcquisitionError) as error:
                told.add(type(error))
        return True

    crowd = kit.Crowd(*(lambda call=call: until_done(call) for call in calls))
    try:
        for _ in range(10):
            assert kit.Child(lambda: keeper.get_token("steady")).result() == token
        kit.until(lambda: len(sources) > 100 and len(got) > 20)
    finally:
        done.set()
    assert crowd.join() == [True] * len(calls)
    assert InvalidConfigurationError in {kind for each in told for kind in each.__mro__}
    granted = {each for source in sources for each in source.granted}
    assert set(got) <= granted
    assert steady.requests == 1
    assert keeper.list_providers() == ["steady"]
    last = kit.Source()
    keeper.add_provider(last)
    assert keeper.get_token("api") in last.granted
