"""Who is told of a token's life, and what a hook may do when it is told."""

import asyncio
import queue
import threading

import pytest
from events.watching import Watcher

from tokenkeeper import InvalidConfigurationError, OAuth2TokenManager, TokenKeeper
from tokenkeeper.events import TokenAcquired, TokenCleared, TokenRefused


class TestWhoIsTold:
    """Hooks are given to a keeper, or added."""

    def test_from_the_start(self, clock, source):
        """Hooks are given with the keeper, in their order."""
        told = []
        hooks = [lambda _: told.append("first"), lambda _: told.append("second")]
        with TokenKeeper(clock=clock, hooks=hooks, background=False) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
        assert told == ["first", "second"]

    def test_through_the_facade(self, keeper, source):
        """The async front takes hooks and tells the same."""
        watcher = Watcher()
        manager = OAuth2TokenManager(keeper)
        manager.add_hook(watcher)
        asyncio.run(manager.get_token("api"))
        assert isinstance(watcher.next(), TokenAcquired)

    def test_callers_have_their_token_first(self, keeper, source):
        """A hook that hangs keeps no caller waiting for the token that it is told of."""
        told, go_on = threading.Event(), threading.Event()

        def hang(_):
            told.set()
            go_on.wait(60)

        keeper.add_hook(hang)
        try:
            assert keeper.get_token("api", timeout=20) == "api-1"
            assert told.wait(20)
        finally:
            go_on.set()

    @pytest.mark.parametrize("hook", [None, "a name", 3])
    def test_no_hook(self, keeper, hook):
        """What can't be called is refused when it is given."""
        with pytest.raises(InvalidConfigurationError, match="must be callable") as caught:
            keeper.add_hook(hook)
        assert caught.value.field == "hooks"
        with pytest.raises(InvalidConfigurationError, match="must be callable"):
            TokenKeeper(hooks=[hook])


@pytest.mark.parametrize("background", [True, False])
def test_a_hook_may_ask_for_tokens(clock, source, background):
    """A hook that hears of a rejected token and asks for a new one gets it."""
    got = queue.SimpleQueue()

    def ask(event):
        if isinstance(event, TokenRefused):
            got.put(keeper.get_token("api", timeout=20))

    with TokenKeeper(clock=clock, hooks=[ask], background=background) as keeper:
        keeper.add_provider(source)
        assert keeper.renew_refused("api", keeper.get_token("api")) == "api-2"
        assert got.get(timeout=20) == "api-2"  # before the keeper closes: then there is none


def test_a_hook_may_cause_events(clock, source):
    """What a hook itself brings about is told to it afterwards, and not in the middle."""
    told = []

    def clear(event):
        told.append(f"{type(event).__name__} begins")
        if isinstance(event, TokenAcquired):
            keeper.clear_token()
        told.append("ends")

    with TokenKeeper(clock=clock, hooks=[clear], background=False) as keeper:
        keeper.add_provider(source)
        keeper.get_token("api")
    assert told == ["TokenAcquired begins", "ends", "TokenCleared begins", "ends"]


def test_an_interrupted_hook_is_told_again(clock, source):
    """Ctrl-C inside a hook goes to who is interrupted; token and later events are unharmed."""
    watcher = Watcher()

    def interrupted(event):
        if isinstance(event, TokenAcquired):
            raise KeyboardInterrupt
        watcher(event)

    with TokenKeeper(clock=clock, hooks=[interrupted], background=False) as keeper:
        keeper.add_provider(source)
        with pytest.raises(KeyboardInterrupt):
            keeper.get_token("api")
        assert keeper.get_token("api") == "api-1"
        keeper.clear_token()
        assert isinstance(watcher.next(), TokenCleared)
