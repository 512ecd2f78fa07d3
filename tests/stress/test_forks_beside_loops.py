"""Forks beside and inside an event loop: the child starts its own loop."""

import os
import threading

import anyio
import pytest
from kit import internals

from tokenkeeper import OAuth2TokenManager

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


def test_async_providers_get_a_loop_of_their_own(kit, make_keeper):
    """A child of a process with a running loop starts another one, once for all its providers."""
    sources = [kit.AsyncSource("first"), kit.AsyncSource("second")]
    keeper = make_keeper(*sources)
    for source in sources:
        keeper.get_token(source.provider_name)
    loop_of_the_parent = internals.provider_loop()

    def work():
        for source in sources:
            source.places.clear()
        for source in sources * 2:
            keeper.get_token(source.provider_name, force_refresh=True)
        assert internals.provider_loop() is not loop_of_the_parent
        names = [thread.name for thread in threading.enumerate()]
        return [names.count("tokenkeeper-loop"), len(sources[0].places | sources[1].places)]

    assert kit.Child(work).result() == [1, 1]
    assert internals.provider_loop() is loop_of_the_parent
    assert keeper.get_token("first", force_refresh=True)


def test_a_fork_inside_an_event_loop(kit, make_keeper):
    """A child forked from a task, while others wait for a flight, gets tokens both ways."""
    warm, stuck = kit.Source("warm"), kit.Source("stuck")
    keeper = make_keeper(warm, stuck)
    manager = OAuth2TokenManager(keeper)
    token = keeper.get_token("warm")
    stuck.hold()
    children = []

    def work():
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
            children.append(kit.Child(work))
            stuck.gate.set()

    for backend in ("asyncio", "trio"):
        anyio.run(main, backend=backend)
        keeper.clear_token("stuck")
        stuck.hold()
    for child in children:
        assert child.result() in (1, 2)
