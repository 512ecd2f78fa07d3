"""Forks at any moment: each child has its tokens at once and renews them by itself."""

import os
import threading
import time

import anyio
import pytest

from tokenkeeper import KeeperClosedError, OAuth2TokenManager, TokenAcquisitionError, fork, portal
from tokenkeeper import default as default_module
from tokenkeeper.clock import SYSTEM_CLOCK, SystemClock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


class Ahead(SystemClock):
    """The machine's clocks, which each process may put ahead: load makes no token end early."""

    seconds = 0.0

    def time(self):
        return SYSTEM_CLOCK.time() + self.seconds

    def monotonic(self):
        return SYSTEM_CLOCK.monotonic() + self.seconds


INTO_THE_BUFFER = 3400.0
"""Seconds, of the hour that tokens live."""


def wait_for_own_renewal(keeper, source, token):
    """Read until the background renewed *token*; no read waits, none gets a dead token."""
    ends = time.monotonic() + 20
    while (current := keeper.get_token("warm")) == token:
        assert source.clock.monotonic() < source.granted[token][1]
        assert time.monotonic() < ends, "no renewal in the background"
        time.sleep(0.005)
    assert f"-{os.getpid()}-" in current
    assert "tokenkeeper-refresher" in {thread.name for thread in threading.enumerate()}
    return current


def test_eight_children_forked_in_the_middle_of_a_flight(kit, make_keeper):
    """Each has its warm token at once, fetches the cold one, and renews in its own background."""
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
    warm.hold()  # in the parent alone: a child that waited for the parent would wait for ever

    def live():
        at_once = keeper.get_token("warm")
        clock.seconds = INTO_THE_BUFFER
        others = [keeper.get_token("stuck"), keeper.get_token("cold")]
        renewed = wait_for_own_renewal(keeper, warm, at_once)
        return [at_once, others, renewed, os.getpid()]

    children = [kit.Child(live) for _ in range(8)]
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
    """Tokens are handed down through the generations, and each of them can renew."""
    clock = Ahead()
    warm, stuck = kit.Source("warm", clock=clock), kit.Source("stuck", clock=clock)
    keeper = make_keeper(warm, stuck, clock=clock)
    token = keeper.get_token("warm")

    def live_and_fork(generations):
        flight = kit.Crowd(lambda: stuck.hold() or keeper.get_token("stuck"))
        assert stuck.entered.wait(kit.GUARD_SECONDS)
        assert keeper.get_token("warm") == token
        below = kit.Child(lambda: live_and_fork(generations - 1)) if generations else None
        clock.seconds = INTO_THE_BUFFER
        stuck.gate.set()
        flight.join()
        renewed = wait_for_own_renewal(keeper, warm, token)
        return [renewed, *(below.result() if below else [])]

    assert len(set(kit.Child(lambda: live_and_fork(2)).result())) == 3


def test_forks_while_threads_hammer_the_keeper(kit, make_keeper):
    """Fifty children forked in the thick of it get warm and cold tokens; the parent goes on."""
    warm, busy = kit.Source("warm"), kit.Source("busy")
    cold, late = kit.Source("cold"), kit.AsyncSource("late")
    keeper = make_keeper(warm, busy, cold, late)
    token = keeper.get_token("warm")
    done = threading.Event()

    def hammer(what):
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
    hammers = kit.Crowd(*(lambda job=job: hammer(job) for job in jobs))

    def live():
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
            children = [kit.Child(live) for _ in range(5)]
            assert [child.result() for child in children] == ["lived"] * 5
    finally:
        done.set()
    assert hammers.join() == ["done"] * 8
    assert warm.requests == 1
    assert cold.requests == 0
    assert busy.requests > 1
    assert keeper.get_token("warm") == token


LOCKS = {
    "renewals": lambda keeper: keeper._renewals._lock,
    "refresher": lambda keeper: keeper._renewals.crew.refresher._lock,
    "workers": lambda keeper: keeper._renewals.crew.workers._lock,
    "loop": lambda keeper: portal._loop._lock,
    "default keeper": lambda keeper: default_module._default_lock,
}


@pytest.mark.parametrize("which", LOCKS)
def test_a_lock_held_by_another_thread(kit, make_keeper, which):
    """A child forked while another thread holds any lock of the library does not miss it."""
    warm, cold, late = kit.Source("warm"), kit.Source("cold"), kit.AsyncSource("late")
    keeper = make_keeper(warm, cold, late)
    token = keeper.get_token("warm")
    default_module.get_default_keeper()

    def live():
        assert keeper.get_token("warm") == token
        assert keeper.get_token("cold")
        assert keeper.get_token("late")
        assert keeper.get_token("warm", force_refresh=True) != token
        assert keeper.refresh_all() == {"warm": True, "cold": True, "late": True}
        assert not default_module.get_default_keeper().is_closed
        keeper.clear_token()
        keeper.close()
        return True

    with kit.held_by_another_thread(LOCKS[which](keeper)):
        child = kit.Child(live)
    assert child.result()
    default_module.get_default_keeper().close()


def test_a_fork_waits_for_a_late_import(kit, make_keeper):
    """A fork during a late import happens after it; the child imports and fetches unharmed."""
    source = kit.Source()
    keeper = make_keeper(source)
    inside, go_on, forked = threading.Event(), threading.Event(), threading.Event()

    def import_slowly():
        with fork._importing:
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
    """A fork while the first loop imports its backend happens after it; the child starts one."""
    keeper = make_keeper(kit.AsyncSource())
    loop = portal._PortalLoop()
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
        starter = kit.Crowd(loop.portal)
        assert inside.wait(kit.GUARD_SECONDS)
    forker = kit.Crowd(fork_now)
    assert not forked.wait(0.05)
    go_on.set()
    assert starter.join() == [loop._portal]
    assert forker.join() == ["api-"]
    loop.stop(kit.GUARD_SECONDS)


def test_async_providers_get_a_loop_of_their_own(kit, make_keeper):
    """A child of a process whose loop runs starts another one, once for all its providers."""
    sources = [kit.AsyncSource("first"), kit.AsyncSource("second")]
    keeper = make_keeper(*sources)
    for source in sources:
        keeper.get_token(source.provider_name)
    loop_of_the_parent = portal._loop._portal

    def live():
        for source in sources:
            source.places.clear()
        for source in sources * 2:
            keeper.get_token(source.provider_name, force_refresh=True)
        assert portal._loop._portal is not loop_of_the_parent
        names = [thread.name for thread in threading.enumerate()]
        return [names.count("tokenkeeper-loop"), len(sources[0].places | sources[1].places)]

    assert kit.Child(live).result() == [1, 1]
    assert portal._loop._portal is loop_of_the_parent
    assert keeper.get_token("first", force_refresh=True)


def test_a_fork_inside_an_event_loop(kit, make_keeper):
    """A child forked from a task, with others waiting for a flight, gets tokens both ways."""
    warm, stuck = kit.Source("warm"), kit.Source("stuck")
    keeper = make_keeper(warm, stuck)
    manager = OAuth2TokenManager(keeper)
    token = keeper.get_token("warm")
    stuck.hold()
    children = []

    def live():
        assert keeper.get_token("warm") == token
        assert keeper.get_token("stuck")
        in_a_new_thread = kit.crowd(
            2, lambda: anyio.run(lambda: manager.get_token("stuck", force_refresh=True))
        )
        return len(set(in_a_new_thread.join()))

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(manager.get_token, "stuck")
            with anyio.fail_after(kit.GUARD_SECONDS):
                while kit.tasks_waiting(keeper, "stuck") < 10:
                    await anyio.sleep(0.001)
            children.append(kit.Child(live))
            stuck.gate.set()

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
        keeper.clear_token("stuck")
        stuck.hold()
    for child in children:
        assert child.result() in (1, 2)


def test_a_child_forgets_who_waited_in_the_parent(kit, make_keeper):
    """Close in a child wakes nobody in the parent, and the parent's end nobody in the child."""
    source = kit.Source()
    keeper = make_keeper(source)
    source.hold()
    waiting = kit.crowd(4, lambda: keeper.get_token("api"))
    kit.until(lambda: kit.threads_waiting(keeper) == 4)

    def live():
        assert not keeper._renewals._flights
        keeper.close()
        with pytest.raises(KeeperClosedError):
            keeper.get_token("api")
        return True

    assert kit.Child(live).result()
    assert kit.threads_waiting(keeper) == 4
    source.gate.set()
    assert set(waiting.join()) == set(source.granted)


def test_a_cooldown_is_not_inherited_locked(kit, make_keeper):
    """A child starts with a clean slate: what the parent was refused it may ask for once."""
    source = kit.Source()
    source.error = TokenAcquisitionError("no", error="invalid_client")
    keeper = make_keeper(source)
    for _ in range(3):
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
    assert source.requests == 1

    def live():
        source.error = None
        return keeper.get_token("api").startswith(f"api-{os.getpid()}-")

    assert kit.Child(live).result()


POOL = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, get_default_keeper


class Source(BaseOAuth2Provider):
    count = 0

    def acquire_token(self):
        self.count += 1
        ends = datetime.now(UTC) + timedelta(hours=1)
        name = multiprocessing.current_process().name
        return OAuth2Token(f"{self.provider_name} {name} {self.count}", "Bearer", ends)


class AsyncSource(Source):
    async def acquire_token(self):
        return super().acquire_token()


keeper = get_default_keeper()
keeper.add_provider(Source("warm"))
keeper.add_provider(AsyncSource("cold"))


def work(_):
    return keeper.get_token("warm"), keeper.get_token("cold")


if __name__ == "__main__":
    method = METHOD
    warm = keeper.get_token("warm")
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = set(pool.map(work, range(20)))
    with context.Pool(2) as pool:
        results |= set(pool.map(work, range(20)))
    assert all("Main" not in cold for _, cold in results), results
    assert 1 <= len(results) <= 4, results
    inherited = {token == warm for token, _ in results}
    assert inherited == {method == "fork"}, results
    print("worked")
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pools(make_script, method):
    """Pools of every kind get tokens in their workers and end as they should."""
    script = make_script(POOL.replace("METHOD", repr(method)), "-W", "ignore::DeprecationWarning")
    assert script.result() == (0, "worked\n", "")
