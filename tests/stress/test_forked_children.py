"""Forks at any moment: each child has its tokens immediately and renews them itself."""

import os
import threading
import time

import pytest
from kit import internals

from tokenkeeper import KeeperClosedError, TokenAcquisitionError
from tokenkeeper.clock import SYSTEM_CLOCK, SystemClock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


class Ahead(SystemClock):
    """The machine's clocks, which each process may set ahead, independently of the load."""

    seconds = 0.0

    def time(self):
        return SYSTEM_CLOCK.time() + self.seconds

    def monotonic(self):
        return SYSTEM_CLOCK.monotonic() + self.seconds


INTO_THE_BUFFER = 3400.0
"""Seconds of the hour for which tokens are granted."""


def wait_for_own_renewal(keeper, source, token):
    """Read until the background renewed *token*; no read waits or gets an expired token."""
    ends = time.monotonic() + 20
    while (current := keeper.get_token("warm")) == token:
        assert source.clock.monotonic() < source.granted[token][1]
        assert time.monotonic() < ends, "no renewal in the background"
        time.sleep(0.005)
    assert f"-{os.getpid()}-" in current
    assert "tokenkeeper-refresher" in {thread.name for thread in threading.enumerate()}
    return current


def test_eight_children_forked_in_the_middle_of_a_flight(kit, make_keeper):
    """Each child has its inherited token, requests the other, and renews in its own background."""
    clock = Ahead()
    warm, cold = kit.Source("warm", clock=clock), kit.AsyncSource("cold", clock=clock)
    stuck = kit.Source("stuck", clock=clock)
    keeper = make_keeper(warm, cold, stuck, clock=clock)
    token = keeper.get_token("warm")
    stuck.hold()
    cold.hold()
    waiting = kit.Crowd(lambda: keeper.get_token("stuck"), lambda: keeper.get_token("cold"))
    assert stuck.entered.wait(kit.GUARD_SECONDS)
    assert cold.entered.wait(kit.GUARD_SECONDS)
    warm.hold()  # in the parent only: a child that waited for the parent would wait forever

    def work():
        at_once = keeper.get_token("warm")
        clock.seconds = INTO_THE_BUFFER
        others = [keeper.get_token("stuck"), keeper.get_token("cold")]
        renewed = wait_for_own_renewal(keeper, warm, at_once)
        return [at_once, others, renewed, os.getpid()]

    children = [kit.Child(work) for _ in range(8)]
    reports = [child.result() for child in children]
    assert [report[0] for report in reports] == [token] * 8
    assert len({report[2] for report in reports}) == 8
    for _, others, _, pid in reports:
        assert all(f"-{pid}-" in other for other in others)
    warm.gate.set()
    stuck.gate.set()
    cold.gate.set()
    assert waiting.join() == [next(iter(stuck.granted)), next(iter(cold.granted))]
    assert stuck.requests == 1
    assert f"-{os.getpid()}-" in keeper.get_token("warm")


def test_a_child_of_a_child(kit, make_keeper):
    """Tokens are inherited through the generations, and each of them can renew."""
    clock = Ahead()
    warm, stuck = kit.Source("warm", clock=clock), kit.Source("stuck", clock=clock)
    keeper = make_keeper(warm, stuck, clock=clock)
    token = keeper.get_token("warm")

    def work_and_fork(generations):
        flight = kit.Crowd(lambda: stuck.hold() or keeper.get_token("stuck"))
        assert stuck.entered.wait(kit.GUARD_SECONDS)
        assert keeper.get_token("warm") == token
        below = kit.Child(lambda: work_and_fork(generations - 1)) if generations else None
        clock.seconds = INTO_THE_BUFFER
        stuck.gate.set()
        flight.join()
        renewed = wait_for_own_renewal(keeper, warm, token)
        return [renewed, *(below.result() if below else [])]

    assert len(set(kit.Child(lambda: work_and_fork(2)).result())) == 3


def test_forks_while_threads_hammer_the_keeper(kit, make_keeper):
    """Fifty children that are forked under load get tokens, and the parent continues."""
    warm, busy = kit.Source("warm"), kit.Source("busy")
    cold, late = kit.Source("cold"), kit.AsyncSource("late")
    keeper = make_keeper(warm, busy, cold, late)
    token = keeper.get_token("warm")
    done = threading.Event()

    def load(what):
        while not done.is_set():
            what()
        return "done"

    def ask():
        for name in ("warm", "busy"):
            keeper.get_token(name)

    def clear():
        keeper.clear_token("busy")

    def refresh():
        for source in (busy, late):
            keeper.get_token(source.provider_name, force_refresh=True)

    jobs = [ask, ask, ask, clear, refresh, refresh, keeper.list_providers, ask]
    loads = kit.Crowd(*(lambda job=job: load(job) for job in jobs))

    def work():
        assert keeper.get_token("warm") == token
        for name in ("cold", "busy", "late"):
            assert keeper.get_token(name)
        assert f"-{os.getpid()}-" in keeper.get_token("cold")
        assert keeper.refresh_all() == dict.fromkeys(("warm", "busy", "cold", "late"), True)
        keeper.clear_token()
        assert f"-{os.getpid()}-" in keeper.get_token("warm")
        keeper.close()
        return "lived"

    try:
        for _ in range(10):
            children = [kit.Child(work) for _ in range(5)]
            assert [child.result() for child in children] == ["lived"] * 5
    finally:
        done.set()
    assert loads.join() == ["done"] * 8
    assert warm.requests == 1
    assert cold.requests == 0
    assert busy.requests > 1
    assert keeper.get_token("warm") == token


def test_a_child_forgets_who_waited_in_the_parent(kit, make_keeper):
    """close() in a child wakes no caller in the parent, and the parent's no caller in the child."""
    source = kit.Source()
    keeper = make_keeper(source)
    source.hold()
    waiting = kit.crowd(4, lambda: keeper.get_token("api"))
    kit.until(lambda: kit.threads_waiting(keeper) == 4)

    def work():
        assert not internals.flights(keeper)
        keeper.close()
        with pytest.raises(KeeperClosedError):
            keeper.get_token("api")
        return True

    assert kit.Child(work).result()
    assert kit.threads_waiting(keeper) == 4
    source.gate.set()
    assert set(waiting.join()) == set(source.granted)


def test_a_cooldown_is_not_inherited_locked(kit, make_keeper):
    """A child starts without the parent's refusals, and may make one request itself."""
    source = kit.Source()
    source.error = TokenAcquisitionError("no", error="invalid_client")
    keeper = make_keeper(source)
    for _ in range(3):
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
    assert source.requests == 1

    def work():
        source.error = None
        return keeper.get_token("api").startswith(f"api-{os.getpid()}-")

    assert kit.Child(work).result()
