"""Providers written with ``async def``: one event loop for all of them and for all callers."""

import asyncio
import threading

import anyio
import pytest

from tokenkeeper import OAuth2TokenManager, TokenAcquisitionError


def test_from_threads_and_both_kinds_of_loops_at_once(kit, make_keeper):
    """Fifty threads, asyncio and trio cause one request for each need, on the library's loop."""
    sources = [kit.AsyncSource(f"api {number}") for number in range(8)]
    keepers = [make_keeper(*sources[:4]), make_keeper(*sources[4:])]
    names = {keeper: keeper.list_providers() for keeper in keepers}

    def block():
        return {keeper.get_token(name) for keeper in keepers for name in names[keeper]}

    def loop(backend):
        async def main():
            tokens = set()

            async def ask(manager, name):
                tokens.add(await manager.get_token(name))

            async with anyio.create_task_group() as tasks:
                for keeper in keepers:
                    for name in names[keeper] * 20:
                        tasks.start_soon(ask, OAuth2TokenManager(keeper), name)
            return tokens

        return anyio.run(main, backend=backend)

    results = kit.Crowd(*[block] * 50, lambda: loop("asyncio"), lambda: loop("trio")).join()
    granted = {token for source in sources for token in source.granted}
    assert len(granted) == 8
    assert results == [granted] * 52
    places = {place for source in sources for place in source.places}
    assert len(places) == 1
    assert next(iter(places))[0] == "tokenkeeper-loop"
    assert [thread.name for thread in threading.enumerate()].count("tokenkeeper-loop") == 1


def test_requests_wait_side_by_side(kit, make_keeper):
    """Many providers wait for their servers at the same time, on one thread."""
    sources = [kit.AsyncSource(f"api {number}") for number in range(30)]
    keeper = make_keeper(*sources)
    for source in sources:
        source.hold()
    crowd = kit.Crowd(
        *(lambda name=source.provider_name: keeper.get_token(name) for source in sources)
    )
    kit.until(lambda: sum(source.asked for source in sources) == 30)
    for source in sources:
        source.gate.set()
    assert crowd.join() == [next(iter(source.granted)) for source in sources]


def test_the_task_that_asked_is_cancelled(kit, make_keeper):
    """The coroutine belongs to the flight, not to the task that started it."""
    source = kit.AsyncSource()
    keeper = make_keeper(source)
    manager = OAuth2TokenManager(keeper)
    source.hold()

    async def give_up():
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(manager.get_token, "api")
                while not kit.tasks_waiting(keeper):
                    await anyio.sleep(0.001)
                scope.cancel()

    asyncio.run(give_up())
    crowd = kit.crowd(8, lambda: keeper.get_token("api"))
    source.gate.set()
    assert set(crowd.join()) == set(source.granted)
    assert source.asked == 1


def test_a_provider_that_awaits_another(kit, make_keeper):
    """A provider may await another one's token on the library's loop, but not block the loop."""
    base, blocked = kit.AsyncSource("base"), kit.AsyncSource("blocked")
    keeper = make_keeper(base, blocked)
    manager = OAuth2TokenManager(keeper)

    class Exchange(kit.AsyncSource):
        async def acquire_token(self):
            await manager.get_token("base")
            return await super().acquire_token()

    class Blocking(kit.AsyncSource):
        async def acquire_token(self):
            keeper.get_token("blocked")

    exchange = Exchange("exchange")
    keeper.add_provider(exchange)
    keeper.add_provider(Blocking("blocking"))
    assert set(kit.crowd(20, lambda: keeper.get_token("exchange")).join()) == set(exchange.granted)
    assert base.asked == exchange.asked == 1
    with pytest.raises(TokenAcquisitionError, match="must not block"):
        keeper.get_token("blocking")
