"""Fixtures: a provider that a test controls, and keepers on a stepped clock."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest
from kit import internals
from kit.crowds import crowd, crowd_of_tasks, in_thread
from kit.guards import plain_environment
from kit.processes import exit_code_of
from kit.providers import Source

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import SteppedClock

HERE = Path(__file__).parent

if "CI" not in os.environ:  # with CI set, Hypothesis has its own profile without a deadline
    hypothesis.settings.register_profile("here", deadline=None)
    hypothesis.settings.load_profile("here")


NOT_FAST = {"benchmarks", "clients", "docs", "fleet", "fuzz", "interop", "soak", "stress", "typed"}
"""Folders without a test of the fast set."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at its options
def pytest_cmdline_main(config):
    """Run the fast set, on every core, if the command names no test, folder or marker.

    ``pytest tests`` runs everything, and ``pytest path::test`` that test, slow or not.
    """
    option = config.option
    is_worker = hasattr(config, "workerinput")  # of pytest-xdist, with the same command line
    names_tests = config.args_source is pytest.Config.ArgsSource.ARGS
    option.only_fast = not names_tests and not option.markexpr
    if option.only_fast:
        option.markexpr = "not slow"
        wants_one = is_worker or option.usepdb or option.collectonly
        if not wants_one and getattr(option, "numprocesses", 0) is None:
            # Half of the time a test waits, so two share a core.
            option.numprocesses = 2 * (os.cpu_count() or 1)


def pytest_itemcollected(item):
    """Mark everything in these folders as slow, so that ``pytest -m slow`` runs it."""
    if HERE in item.path.parents and item.path.relative_to(HERE).parts[0] in NOT_FAST:
        item.add_marker("slow")


def pytest_ignore_collect(collection_path, config):
    """Don't even import what the fast set leaves out."""
    is_left_out = collection_path.parent == HERE and collection_path.name in NOT_FAST
    return True if is_left_out and config.option.only_fast else None


@pytest.fixture(autouse=True, scope="session")
def default_signal_handlers():
    """Restore the default handlers of signals that the tests' own parent ignores.

    A shell ignores Ctrl-C for its background jobs, and nohup ignores the end of the terminal. The
    programs that tests start would inherit that.
    """
    own = {
        "SIGINT": signal.default_int_handler,
        "SIGTERM": signal.SIG_DFL,
        "SIGHUP": signal.SIG_DFL,
    }
    for name, handler in own.items():
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True, name="plain_environment")
def plain_environment_fixture(monkeypatch):
    """Guard each test against the machine: see :func:`kit.guards.plain_environment`."""
    plain_environment(monkeypatch)


@pytest.fixture(autouse=True)
def nothing_shared(monkeypatch):
    """Guard each test against others: see :func:`kit.internals.share_nothing_yet`."""
    internals.share_nothing_yet(monkeypatch)


@pytest.fixture
def clock():
    """Return a clock that the waits of retries step."""
    return SteppedClock(auto_step="retries")


@pytest.fixture
def make_source(clock):
    """Return a function that makes sources on the clock of the test."""

    def make(name="api", **options):
        return Source(name, clock=clock, **options)

    return make


@pytest.fixture
def source(make_source):
    """Return a source called "api"."""
    return make_source()


@pytest.fixture
def keeper(clock, source):
    """Return a keeper with the source, whose scheduler has no thread.

    ``look(keeper)`` does what the thread would do.
    """
    keeper = TokenKeeper(clock=clock, jitter=lambda: 0.0)
    internals.take_over_scheduler(keeper)
    keeper.add_provider(source)
    yield keeper
    internals.release_scheduler(keeper)
    source.gate.set()
    keeper.close()


@pytest.fixture(name="in_thread")
def in_thread_fixture():
    """Return a function that calls a function on a thread: see :func:`kit.crowds.in_thread`."""
    return in_thread


@pytest.fixture(name="crowd")
def crowd_fixture():
    """Return a function that runs a job in many threads and returns results and exceptions."""
    return lambda count, job: crowd(count, job).join()


@pytest.fixture(name="crowd_of_tasks")
def crowd_of_tasks_fixture():
    """Return a function that runs a job in many tasks: see :func:`kit.crowds.crowd_of_tasks`."""
    return crowd_of_tasks


@pytest.fixture(name="look")
def look_fixture():
    """Return a function that plays the scheduler's thread: see :func:`kit.internals.look`."""
    return internals.look


@pytest.fixture(name="exit_code_of")
def exit_code_of_fixture():
    """Return a function that runs a forked child: see :func:`kit.processes.exit_code_of`."""
    return exit_code_of
