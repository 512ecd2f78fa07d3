"""A hundred thousand repetitions: memory, objects, threads and files don't grow."""

import asyncio
import gc
import itertools
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from tokenkeeper import (
    BaseOAuth2Provider,
    OAuth2Token,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
)

FILES = Path("/proc/self/fd")
ENDS = datetime.now(UTC) + timedelta(hours=1)

numbers = itertools.count()


class Granting(BaseOAuth2Provider):
    """Grants immediately."""

    def acquire_token(self):
        return OAuth2Token(f"token of {self.provider_name}", "Bearer", ENDS)


class GrantingAsync(Granting):
    """Grants immediately, on the loop."""

    async def acquire_token(self):
        return super().acquire_token()


class Refusing(BaseOAuth2Provider):
    """Refuses with a final error."""

    def acquire_token(self):
        raise TokenAcquisitionError("no", error="invalid_client", transient=False)


def resources():
    """Return the numbers of memory blocks, tracked objects, threads and open files."""
    gc.collect()
    files = len(os.listdir(FILES)) if FILES.exists() else 0
    return sys.getallocatedblocks(), len(gc.get_objects()), threading.active_count(), files


def grew(before):
    """Return the resources that have grown since *before*, apart from small fluctuations.

    The interpreter keeps some memory, and a few idle workers stay for a while.
    """
    kinds = ("blocks", "objects", "threads", "files")
    slack = (500, 100, 4, 0)
    return {
        kind: now - then
        for kind, then, now, most in zip(kinds, before, resources(), slack, strict=True)
        if now - then > most
    }


def check_growth(kit, cycle, times):
    """Run *cycle*, a fifth of *times* to warm up, and fail if the rest leaves something behind."""
    warm_up = times // 5
    for _ in range(warm_up):
        cycle()
    before = resources()
    for _ in range(times - warm_up):
        cycle()
    # The last workers need a moment to end.
    kit.until(lambda: not grew(before), f"no growth after {times} cycles since {before}")


async def check_growth_async(cycle, times):
    """Do the same as check_growth with a coroutine function."""
    warm_up = times // 5
    for _ in range(warm_up):
        await cycle()
    before = resources()
    for _ in range(times - warm_up):
        await cycle()
    with anyio.fail_after(30):
        while grew(before):
            await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("background", "times"), [(True, 80_000), (False, 20_000)], ids=["background", "inline"]
)
def test_providers_that_come_and_go(kit, make_keeper, background, times):
    """A provider that was added, used, cleared and removed leaves nothing behind."""
    keeper = make_keeper(background=background)

    def cycle():
        provider = Granting(f"api {next(numbers)}")
        keeper.add_provider(provider)
        keeper.get_token(provider.provider_name)
        keeper.clear_token(provider.provider_name)
        keeper.remove_provider(provider.provider_name)

    check_growth(kit, cycle, times)
    assert not keeper.list_providers()


def test_providers_that_refuse(kit, make_keeper, caplog):
    """Errors, cooldowns and providers that are removed without a clear leave nothing behind."""
    caplog.set_level("CRITICAL", "tokenkeeper")  # pytest keeps everything that is logged
    keeper = make_keeper()

    def cycle():
        provider = Refusing(f"api {next(numbers)}")
        keeper.add_provider(provider)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token(provider.provider_name)
        keeper.remove_provider(provider.provider_name)

    check_growth(kit, cycle, 5_000)


def test_one_provider_for_ever(kit, make_keeper):
    """Tokens that were replaced, by force or after a clear, leave nothing behind."""
    keeper = make_keeper(Granting("api"))

    def cycle():
        keeper.get_token("api", force_refresh=True)
        keeper.clear_token()
        assert keeper.refresh_all() == {}
        keeper.get_token("api")
        assert keeper.refresh_all() == {"api": True}

    check_growth(kit, cycle, 3_000)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", [Granting, GrantingAsync])
def test_the_facade(make_keeper, backend, kind):
    """Nothing accumulates in an event loop that runs for long."""
    manager = OAuth2TokenManager(make_keeper())

    async def cycle():
        provider = kind(f"api {next(numbers)}")
        manager.add_provider(provider)
        await manager.get_token(provider.provider_name)
        manager.clear_token(provider.provider_name)
        manager.remove_provider(provider.provider_name)

    anyio.run(check_growth_async, cycle, 2_500, backend=backend)


def test_keepers_that_are_made_and_closed(kit):
    """A thousand keepers leave nothing behind, their threads included."""

    def cycle():
        with TokenKeeper() as keeper:
            keeper.add_provider(Granting("api"))
            keeper.add_provider(GrantingAsync("async"))
            keeper.get_token("api")
            keeper.get_token("async")

    check_growth(kit, cycle, 1_000)


def test_event_loops_that_come_and_go(kit, make_keeper):
    """Event loops that used a keeper leave nothing behind in it."""
    manager = OAuth2TokenManager(make_keeper(Granting("api")))

    async def main():
        for _ in range(3):
            await asyncio.gather(
                *(manager.get_token("api", force_refresh=force) for force in (False, True))
            )

    check_growth(kit, lambda: asyncio.run(main()), 500)
