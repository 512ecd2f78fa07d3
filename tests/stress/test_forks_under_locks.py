"""Forks while another thread holds a lock: the child does not need it, or the fork waits."""

import os
import threading

import anyio
import pytest
from kit import internals

from tokenkeeper import default as default_module
from tokenkeeper._runtime import fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


@pytest.mark.parametrize(
    "which", ["coordinator", "scheduler", "workers", "provider loop", "default keeper"]
)
def test_a_lock_held_by_another_thread(kit, make_keeper, which):
    """A child that is forked while another thread holds a lock of the library doesn't hang."""
    warm, cold, late = kit.Source("warm"), kit.Source("cold"), kit.AsyncSource("late")
    keeper = make_keeper(warm, cold, late)
    token = keeper.get_token("warm")
    default_module.get_default_keeper()

    def work():
        assert keeper.get_token("warm") == token
        assert keeper.get_token("cold")
        assert keeper.get_token("late")
        assert keeper.get_token("warm", force_refresh=True) != token
        assert keeper.refresh_all() == {"warm": True, "cold": True, "late": True}
        assert not default_module.get_default_keeper().is_closed
        keeper.clear_token()
        keeper.close()
        return True

    with kit.held_by_another_thread(internals.locks(keeper)[which]):
        child = kit.Child(work)
    assert child.result()
    default_module.get_default_keeper().close()


def test_a_fork_waits_for_a_late_import(kit, make_keeper):
    """A fork waits for a late import; the child imports the module and requests its token."""
    source = kit.Source()
    keeper = make_keeper(source)
    inside, go_on, forked = threading.Event(), threading.Event(), threading.Event()

    def import_slowly():
        with fork.forks_wait():
            inside.set()
            return go_on.wait(kit.GUARD_SECONDS)

    def fork_now():
        child = kit.Child(lambda: fork.late_import("json").__name__ + keeper.get_token("api")[:4])
        forked.set()
        return child.result()

    importer = kit.Crowd(import_slowly)
    assert inside.wait(kit.GUARD_SECONDS)
    forker = kit.Crowd(fork_now)
    assert not forked.wait(0.05)
    go_on.set()
    assert importer.join() == [True]
    assert forker.join() == ["jsonapi-"]


def test_a_fork_waits_for_a_loop_that_starts(kit, make_keeper, monkeypatch):
    """A fork waits while the first loop imports its backend; the child starts its own loop."""
    keeper = make_keeper(kit.AsyncSource())
    loop = internals.new_provider_loop()
    inside, go_on, forked = threading.Event(), threading.Event(), threading.Event()
    run = anyio.run

    def run_slowly(*arguments, **options):
        inside.set()
        assert go_on.wait(kit.GUARD_SECONDS)
        run(*arguments, **options)

    def fork_now():
        child = kit.Child(lambda: keeper.get_token("api")[:4])
        forked.set()
        return child.result()

    with monkeypatch.context() as patch:
        patch.setattr(anyio, "run", run_slowly)
        starter = kit.Crowd(loop.start)
        assert inside.wait(kit.GUARD_SECONDS)
    forker = kit.Crowd(fork_now)
    assert not forked.wait(0.05)
    go_on.set()
    assert starter.join() == [loop._loop]
    assert forker.join() == ["api-"]
    loop.stop(kit.GUARD_SECONDS)
