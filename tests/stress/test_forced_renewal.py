"""Many callers that want another token than the current one."""

import random

import anyio
import pytest

from tokenkeeper import OAuth2TokenManager
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def source(kit):
    return kit.Source()


@pytest.fixture
def keeper(make_keeper, source):
    return make_keeper(source)


def test_force_refresh_from_50_threads(kit, keeper, source):
    """Callers that arrive after a request was sent share the next one."""
    old = keeper.get_token("api")
    source.hold()

    def force():
        came = next(kit.ticks)
        return came, keeper.get_token("api", force_refresh=True)

    first = kit.Crowd(force)
    assert source.entered.wait(kit.GUARD_SECONDS)
    others = kit.crowd(49, force)
    kit.until(lambda: kit.threads_waiting(keeper) == 50)
    readers = kit.crowd(20, lambda: {keeper.get_token("api") for _ in range(1000)})
    assert readers.join() == [{old}] * 20  # while the gate is closed
    source.gate.set()
    for came, token in first.join() + others.join():
        assert source.granted[token][0] > came
    assert source.requests == 3
    assert source.overlaps == 0


def test_force_refresh_from_anywhere_at_any_time(kit, keeper, source):
    """A forced token was granted after its call began, and no two requests overlap."""
    manager = OAuth2TokenManager(keeper)
    draw = random.Random(5)
    keeper.get_token("api")

    def force():
        results = []
        for _ in range(20):
            came = next(kit.ticks)
            results.append((came, keeper.get_token("api", force_refresh=True)))
            if draw.random() < 0.2:
                keeper.clear_token("api")
        return results

    async def force_in_tasks():
        results = []

        async def ask():
            came = next(kit.ticks)
            results.append((came, await manager.get_token("api", force_refresh=True)))

        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(ask)
        return results

    loops = [
        lambda backend=backend: anyio.run(force_in_tasks, backend=backend)
        for backend in ("asyncio", "trio")
    ]
    for results in kit.Crowd(*[force] * 16, *loops).join():
        for came, token in results:
            assert source.granted[token][0] > came
    # A cleared flight and its successor may overlap; apart from that, one at a time.
    assert source.requests <= 1 + 16 * 20 + 2 * 200


def test_never_two_requests_at_once(kit, keeper, source):
    """Fifty threads that force three renewals each never have two requests in flight."""

    def force():
        for _ in range(3):
            came = next(kit.ticks)
            token = keeper.get_token("api", force_refresh=True)
            assert source.granted[token][0] > came

    assert kit.crowd(50, force).join() == [None] * 50
    assert source.overlaps == 0
    assert source.requests <= 150


def test_100_threads_refused_at_once(kit, make_keeper):
    """A hundred workers that report the same rejected token cause one renewal, each time."""
    clock = SteppedClock()
    source = kit.Source(clock=clock)
    keeper = make_keeper(source, clock=clock)
    refused = keeper.get_token("api")
    for round_number in range(1, 21):
        results = kit.crowd(100, lambda token=refused: keeper.renew_refused("api", token)).join()
        assert len(set(results)) == 1
        assert results[0] != refused
        assert source.requests == 1 + round_number
        refused = results[0]
        clock.step(600.0)  # each token is used for a while before it is revoked
    assert source.overlaps == 0


def test_refused_during_a_renewal(kit, keeper, source):
    """Rejections that are reported during a renewal wait for it and cause no other."""
    refused = keeper.get_token("api")
    source.hold()
    manager = OAuth2TokenManager(keeper)
    forced = kit.Crowd(lambda: keeper.get_token("api", force_refresh=True))
    assert source.entered.wait(kit.GUARD_SECONDS)
    crowd = kit.crowd(50, lambda: keeper.renew_refused("api", refused))
    tasks = kit.crowd(2, lambda: anyio.run(manager.renew_refused, "api", refused))
    kit.until(lambda: kit.threads_waiting(keeper) == 51 and kit.tasks_waiting(keeper) == 2)
    source.gate.set()
    results = set(crowd.join() + tasks.join() + forced.join())
    assert len(results) == 1
    assert refused not in results
    assert source.requests == 2


def test_a_refused_token_is_not_read_again(kit, keeper, source):
    """After the first report no reader gets the rejected token, however long it is valid."""
    refused = keeper.get_token("api")
    source.hold()
    first = kit.Crowd(lambda: keeper.renew_refused("api", refused))
    assert source.entered.wait(kit.GUARD_SECONDS)
    readers = kit.crowd(20, lambda: keeper.get_token("api"))
    kit.until(lambda: kit.threads_waiting(keeper) == 21)
    source.gate.set()
    assert len(set(readers.join() + first.join())) == 1
    assert refused not in readers.results
    assert source.requests == 2


def test_refresh_all_from_many_threads(make_keeper, kit):
    """refresh_all renews all providers side by side, with one request at a time for each."""
    sources = [kit.Source(f"api {number}") for number in range(10)]
    keeper = make_keeper(*sources)
    for source in sources:
        keeper.get_token(source.provider_name)
    everything_works = dict.fromkeys(keeper.list_providers(), True)
    assert kit.crowd(16, keeper.refresh_all).join() == [everything_works] * 16
    assert all(source.overlaps == 0 for source in sources)
    assert all(2 <= source.requests <= 17 for source in sources)
