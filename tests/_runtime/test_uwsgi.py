"""In a uWSGI master no thread is started: its workers are forked beside Python's hooks."""

import asyncio
import gc
import os
import sys
import threading
import types
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from kit import internals
from kit.guards import GUARD_SECONDS

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper


class Uwsgi(types.ModuleType):
    """What uWSGI's module says; *master* is the process id of the master."""

    def __init__(self, master):
        super().__init__("uwsgi")
        self.master = master

    def masterpid(self):
        return self.master


@pytest.fixture
def uwsgi(monkeypatch):
    """Make this process a uWSGI master."""
    module = Uwsgi(os.getpid())
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


@pytest.fixture
def no_new_threads(monkeypatch):
    """Fail if a thread is started."""
    started = []
    start = threading.Thread.start

    def note(thread):
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    monkeypatch.setattr("_thread.start_new_thread", lambda *call: started.append("bare"))
    yield
    assert not started


@pytest.mark.usefixtures("uwsgi", "no_new_threads")
def test_a_keeper(clock, make_source):
    """A first token, a forced one, a hook and the end of a keeper need no thread."""
    events = []
    keeper = TokenKeeper(clock=clock, hooks=[events.append])
    keeper.add_provider(make_source())
    first = keeper.get_token("api")
    assert keeper.get_token("api") == first
    assert keeper.get_token("api", force_refresh=True) != first
    assert keeper.refresh_all() == {"api": True}
    assert events
    del keeper
    gc.collect()


@pytest.mark.usefixtures("uwsgi", "no_new_threads")
def test_an_async_provider():
    """The library's event loop runs on the caller's thread."""
    threads = []

    class Provider(BaseOAuth2Provider):
        async def acquire_token(self):
            await asyncio.sleep(0)
            threads.append(threading.get_ident())
            return OAuth2Token("api-1", "Bearer", datetime.now(UTC) + timedelta(hours=1))

    with internals.fresh_provider_loop(), TokenKeeper() as keeper:
        keeper.add_provider(Provider("api"))
        assert keeper.get_token("api") == "api-1"
    assert threads == [threading.get_ident()]


@pytest.mark.usefixtures("uwsgi")
def test_the_loop_of_the_master():
    """A worker does not close the loop that the master's thread ran; they share its poll object."""
    loops = []

    async def note():
        loops.append(asyncio.get_running_loop())

    loop = internals.new_provider_loop()
    loop.run(note)
    masters = weakref.ref(loops.pop())
    loop.after_fork_in_child()
    gc.collect()
    assert masters() is not None
    loop.run(note)
    assert loops != [masters()]
    loops.pop().close()
    masters().close()


def test_a_worker(uwsgi, clock, make_source):
    """A worker has the master's token, and renews it on its own threads."""
    with TokenKeeper(clock=clock) as keeper:
        keeper.add_provider(source := make_source())
        token = keeper.get_token("api")
        assert not internals.scheduler_is_running(keeper)
        uwsgi.master += 1  # this is another process than the master now
        internals.after_fork_in_child(keeper)
        clock.step(3400)
        assert keeper.get_token("api") == token
        assert internals.scheduler_is_running(keeper)
        assert source.entered.acquire(timeout=GUARD_SECONDS)  # the master's request
        assert source.entered.acquire(timeout=GUARD_SECONDS)


@pytest.mark.parametrize(
    "module",
    [
        types.ModuleType("uwsgi"),  # a stand-in that somebody installed for their editor
        Uwsgi(0),  # uWSGI without a master
        Uwsgi(os.getpid() + 1),  # a worker, a mule or a spooler
        None,  # an import that is forbidden
    ],
)
def test_other_processes(monkeypatch, clock, make_source, module):
    """Any other process has threads as usual."""
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    with TokenKeeper(clock=clock) as keeper:
        keeper.add_provider(make_source())
        keeper.get_token("api")
        assert internals.scheduler_is_running(keeper)
