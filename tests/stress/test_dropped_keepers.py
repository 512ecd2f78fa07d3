"""Keepers that are dropped without close() are collected, and their threads end."""

import gc
import itertools
import operator
import sys
import threading
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from kit import internals

from tokenkeeper import (
    BaseOAuth2Provider,
    OAuth2Token,
    OAuth2TokenManager,
    TokenKeeper,
)


@pytest.fixture
def own_threads(kit):
    """Return a function that lists the library's threads that started since.

    It collects garbage first, each time: a worker that has just completed a flight still refers to
    the keeper, which may be part of a cycle.
    """
    before = kit.library_threads()

    def own_threads():
        gc.collect()
        return [thread for thread in kit.library_threads() if thread not in before]

    return own_threads


def collected(reference):
    """Collect garbage; return whether the referent was collected.

    Once may be too early: a worker that has just completed a flight still refers to it.
    """
    gc.collect()
    return reference() is None


def keeper_with(*sources):
    keeper = TokenKeeper()
    for source in sources:
        keeper.add_provider(source)
    return keeper


def test_a_keeper_whose_threads_idle(kit, own_threads):
    """A keeper is collected although its threads run, and they end."""
    keeper = keeper_with(kit.Source())
    keeper.get_token("api")
    gone = weakref.ref(keeper)
    assert own_threads()
    del keeper
    kit.until(lambda: collected(gone), "its collection")
    kit.until(lambda: not own_threads(), "the end of the threads")


def test_a_keeper_in_a_cycle(kit, own_threads):
    """So is a keeper in a reference cycle, with its facade and its providers."""
    source = kit.Source()
    keeper = keeper_with(source)
    source.manager = OAuth2TokenManager(keeper)
    keeper.get_token("api")
    gone = weakref.ref(keeper), weakref.ref(source)
    del keeper, source
    kit.until(lambda: all(map(collected, gone)), "their collection")
    kit.until(lambda: not own_threads(), "the end of the threads")


def test_a_keeper_in_the_middle_of_a_flight(kit, own_threads):
    """A keeper is collected while a worker waits for a server, and the worker ends afterwards."""
    source = kit.Source()
    keeper = keeper_with(source)
    source.hold()
    internals.ask(keeper, internals.need(keeper))
    assert source.entered.wait(kit.GUARD_SECONDS)
    gone = weakref.ref(keeper), weakref.ref(internals.coordinator(keeper))
    del keeper
    kit.until(lambda: collected(gone[0]), "its collection")
    assert not source.gate.is_set()
    source.gate.set()
    kit.until(lambda: not own_threads(), "the end of the threads")
    kit.until(lambda: collected(gone[1]), "the collection of the rest")


def test_a_keeper_that_somebody_waits_on(kit, own_threads):
    """A waiting call keeps its keeper alive, and gets its token."""
    source = kit.Source()
    keeper = keeper_with(source)
    gone = weakref.ref(keeper)
    source.hold()
    waiting = kit.Crowd(keeper_with_one_use(keeper))
    del keeper
    assert source.entered.wait(kit.GUARD_SECONDS)
    gc.collect()
    assert gone() is not None
    source.gate.set()
    assert waiting.join() == list(source.granted)
    del waiting
    kit.until(lambda: collected(gone), "its collection")
    kit.until(lambda: not own_threads(), "the end of the threads")


def keeper_with_one_use(keeper):
    calls = [lambda: keeper.get_token("api")]
    return lambda: calls.pop()()


def left_of_keepers():
    """Return the sizes of the library's process-wide collections."""
    gc.collect()
    return (
        internals.objects_told_of_forks(),
        internals.open_keepers(),
        len(weakref.finalize._registry),
        len(threading._active),
    )


def test_200_keepers(kit, own_threads):
    """Two hundred dropped keepers leave no thread and nothing else behind."""
    warm_up = keeper_with(kit.Source())
    warm_up.get_token("api")
    warm_up.close()
    del warm_up
    before = left_of_keepers()
    for number in range(200):
        source = kit.Source()
        keeper = keeper_with(source)
        if number % 4:
            keeper.get_token("api")
        if number % 3:
            source.manager = OAuth2TokenManager(keeper)
        if number % 5 == 0:
            keeper.close()
    del keeper, source
    kit.until(lambda: not own_threads(), "the end of the threads")
    try:
        kit.until(lambda: all(map(operator.le, left_of_keepers(), before)))
    except AssertionError:
        pytest.fail(f"{left_of_keepers()} are left, more than {before} before")


class Plain(BaseOAuth2Provider):
    """Records nothing, because records would grow."""

    def acquire_token(self):
        return OAuth2Token("token", "Bearer", datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize(("background", "cycles"), [(False, 20_000), (True, 4000)])
def test_cycles_of_add_and_remove(kit, make_keeper, background, cycles):
    """Providers that are added, used and removed leave nothing in a keeper."""
    keeper = make_keeper(background=background)
    numbers = itertools.count()

    def cycle():
        name = f"api {next(numbers) % 997}"
        keeper.add_provider(Plain(name))
        keeper.get_token(name)
        keeper.clear_token(name)
        keeper.get_token(name)
        keeper.remove_provider(name)

    for _ in range(cycles // 10):
        cycle()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(cycles - cycles // 10):
        cycle()
    gc.collect()
    growth = sys.getallocatedblocks() - before
    assert set(internals.sizes(keeper).values()) == {0}
    assert internals.scheduled_entries(keeper) <= 16
    assert growth < cycles // 10  # more would be left behind by each cycle
