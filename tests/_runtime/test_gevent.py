"""Processes that gevent or eventlet patched too late are refused wherever a thread would start."""

import sys
import types

import pytest
from kit import internals

from tokenkeeper import InvalidConfigurationError, OAuth2TokenManager, TokenKeeper
from tokenkeeper._runtime.scheduler import Scheduler
from tokenkeeper._runtime.workers import Workers


def gevent(monkeypatch, *patched):
    monkey = types.ModuleType("gevent.monkey")
    monkey.is_module_patched = lambda name: name in patched
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)


def eventlet(monkeypatch, *patched):
    patcher = types.ModuleType("eventlet.patcher")
    patcher.is_monkey_patched = lambda name: name in patched
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)


LATE = {
    "gevent": (
        lambda patch: gevent(patch, "threading", "queue"),
        r"call gevent\.monkey\.patch_all\(\) before tokenkeeper is imported",
    ),
    "half of gevent": (lambda patch: gevent(patch, "threading"), "patch both or neither"),
    "eventlet": (
        lambda patch: eventlet(patch, "thread"),
        r"call eventlet\.monkey_patch\(\) before tokenkeeper is imported",
    ),
}


@pytest.fixture(params=LATE)
def patch_late(request, monkeypatch):
    """Return a function that patches the process, and the expected refusal."""
    patch, words = LATE[request.param]
    return lambda: patch(monkeypatch), words


def test_a_keeper(patch_late):
    """No keeper can be created."""
    patch, words = patch_late
    patch()
    with pytest.raises(InvalidConfigurationError, match=words):
        TokenKeeper()


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize(
    "ask",
    [
        lambda keeper: keeper.get_token("api", force_refresh=True),
        lambda keeper: keeper.get_oauth2_token("other"),
        lambda keeper: keeper.renew_refused("api", "api-1"),
        lambda keeper: keeper.refresh_all(),
    ],
)
def test_a_wait(patch_late, clock, make_source, background, ask):
    """No wait begins, and a fresh token is still returned."""
    patch, words = patch_late
    with TokenKeeper(clock=clock, background=background) as keeper:
        keeper.add_provider(make_source())
        keeper.add_provider(make_source("other"))
        token = keeper.get_token("api")
        patch()
        assert keeper.get_token("api") == token
        with pytest.raises(InvalidConfigurationError, match=words):
            ask(keeper)


def test_the_scheduler_of_a_warm_keeper(patch_late, clock, make_source):
    """Inside the buffer no scheduler is started, as in a worker that inherits a warm keeper."""
    patch, words = patch_late
    with TokenKeeper(clock=clock) as keeper:
        keeper.add_provider(source := make_source())
        keeper.get_token("api")
        internals.after_fork_in_child(keeper)
        clock.step(3400)
        patch()
        with pytest.raises(InvalidConfigurationError, match=words):
            keeper.get_token("api")
        assert not internals.scheduler_is_running(keeper)
        assert source.requests == 1


def test_a_renewal_in_the_background(patch_late, clock, make_source, caplog):
    """A running scheduler starts no worker; the renewal fails, and the log says why."""
    patch, words = patch_late
    with TokenKeeper(clock=clock) as keeper:
        keeper.add_provider(make_source())
        token = keeper.get_token("api")
        patch()
        clock.step(3400)
        (due,) = internals.take_due(keeper) or ["api"]
        with pytest.raises(InvalidConfigurationError, match=words):
            internals.renew(keeper, due)
        assert not internals.flights(keeper)
        assert keeper.get_token("api") == token


def test_threads(patch_late, clock):
    """Neither the scheduler, nor a worker, nor the library's event loop is started."""
    patch, words = patch_late
    patch()
    workers, scheduler = Workers(1), Scheduler(clock, lambda key: None)
    for start in (
        scheduler.start,
        lambda: workers.submit(lambda: None),
        internals.new_provider_loop().start,
    ):
        with pytest.raises(InvalidConfigurationError, match=words):
            start()


async def test_tasks(patch_late, clock, make_source):
    """The async front refuses as well."""
    patch, words = patch_late
    manager = OAuth2TokenManager(TokenKeeper(clock=clock))
    manager.add_provider(make_source())
    patch()
    with pytest.raises(InvalidConfigurationError, match=words):
        await manager.get_token("api")
    manager.keeper.close()


test_tasks = pytest.mark.anyio(test_tasks)


@pytest.mark.parametrize(
    "patch",
    [
        lambda patch: gevent(patch),
        lambda patch: gevent(patch, "ssl", "socket"),
        lambda patch: eventlet(patch),
        lambda patch: eventlet(patch, "socket", "time"),
    ],
)
def test_harmless_patches(monkeypatch, patch, clock, make_source):
    """A library that is only imported, or patches neither threads nor queues, is accepted."""
    patch(monkeypatch)
    with TokenKeeper(clock=clock) as keeper:
        keeper.add_provider(make_source())
        assert keeper.get_token("api") == "api-1"
