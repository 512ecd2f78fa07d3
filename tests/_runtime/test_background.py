"""Chores: what the scheduler has done besides renewals."""

import os
import threading

import pytest
from kit.guards import GUARD_SECONDS, until

from tokenkeeper._runtime.background import Background
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def background_of(clock):
    """Return a function that makes one, whose scheduler does chores and nothing else."""
    made = []

    def background_of(*, enabled=True):
        background = Background(
            enabled=enabled,
            limit=2,
            clock=clock,
            renew=lambda name: made[0].do_chore(name),
            look=lambda: None,
        )
        made.append(background)
        return background

    yield background_of
    for background in made:
        background.close(GUARD_SECONDS)


@pytest.fixture
def background(background_of):
    return background_of()


def test_a_chore_is_done_when_it_is_due(background, clock):
    """A worker does it, once, and not before it is due."""
    done = []
    background.plan("chore", clock.monotonic() + 2, lambda: done.append(threading.get_ident()))
    background.ensure_running()
    until(lambda: clock.waiting, "the scheduler's wait")
    clock.step(1.9)
    assert not done
    clock.step(0.1)
    until(lambda: done, "the chore")
    clock.step(60)
    until(lambda: clock.waiting, "the scheduler's wait")
    scheduler = background.scheduler._thread.ident
    assert len(done) == 1
    assert done[0] not in (threading.get_ident(), scheduler)


def test_a_chore_replaces_the_one_of_its_name(background, clock):
    """Planned again, it is done at the new time, and the earlier call is not made."""
    done = []
    background.plan("chore", clock.monotonic(), lambda: done.append("earlier"))
    background.plan("chore", clock.monotonic() + 2, lambda: done.append("later"))
    assert background.scheduler.take_due() == []
    clock.step(2)
    assert background.scheduler.take_due() == ["chore"]
    assert background.do_chore("chore")
    until(lambda: done, "the chore")
    assert done == ["later"]


def test_a_chore_may_plan_itself_again(background, clock):
    """The chore is forgotten before it is done, so that what it plans is kept."""
    done = threading.Event()

    def again():
        background.plan("chore", clock.monotonic() + 1, done.set)

    background.plan("chore", clock.monotonic(), again)
    background.ensure_running()
    until(lambda: clock.step(0.5) or done.is_set(), "the chore that was planned again")


def test_other_names_are_not_chores(background):
    """The name of a token is left to the renewals."""
    background.plan("chore", 0.0, lambda: None)
    assert not background.do_chore("api")


def test_a_done_chore_is_gone(background):
    """Each plan is done once."""
    background.plan("chore", 0.0, lambda: None)
    assert background.do_chore("chore")
    assert not background.do_chore("chore")


def test_without_threads_it_is_done_where_the_scheduler_is_played(background_of):
    """An inline keeper has no worker for it."""
    background, done = background_of(enabled=False), []
    background.plan("chore", 0.0, lambda: done.append(threading.get_ident()))
    assert not done
    assert background.scheduler.take_due() == ["chore"]
    assert background.do_chore("chore")
    assert done == [threading.get_ident()]


def test_a_chore_of_closed_workers_is_done_at_once(background):
    """A scheduler that ends a little later than the workers loses no chore."""
    done = []
    background.workers.close(GUARD_SECONDS)
    background.plan("chore", 0.0, lambda: done.append(threading.get_ident()))
    assert background.do_chore("chore")
    assert done == [threading.get_ident()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_child_leaves_chores_to_its_parent(background, exit_code_of):
    """After a fork, the parent still has its chores, and the child has none."""
    done = []
    background.plan("chore", 0.0, lambda: done.append(True))

    def child():
        background.after_fork_in_child()
        due = background.scheduler.take_due()
        return len(due) + len(done) + background.do_chore("chore")

    assert exit_code_of(child) == 0
    assert background.scheduler.take_due() == ["chore"]
    assert background.do_chore("chore")
    until(lambda: done, "the chore of the parent")
