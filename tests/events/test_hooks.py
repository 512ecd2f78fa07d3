"""Which hooks get events, and what a hook may do."""

import asyncio
import queue
import threading

import pytest
from kit.watching import Watcher

from tokenkeeper import InvalidConfigurationError, OAuth2TokenManager, TokenKeeper
from tokenkeeper.events import TokenAcquired, TokenCleared, TokenRefused


class TestHooks:
    """Hooks are passed to a keeper, or added later."""

    def test_from_the_start(self, clock, source):
        """Hooks are passed with the keeper, and called in their order."""
        reported = []
        hooks = [lambda _: reported.append("first"), lambda _: reported.append("second")]
        with TokenKeeper(clock=clock, hooks=hooks, background=False) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
        assert reported == ["first", "second"]

    def test_through_the_facade(self, keeper, source):
        """The async front takes hooks and reports the same events."""
        watcher = Watcher()
        manager = OAuth2TokenManager(keeper)
        manager.add_hook(watcher)
        asyncio.run(manager.get_token("api"))
        assert isinstance(watcher.next(), TokenAcquired)

    def test_callers_have_their_token_first(self, keeper, source):
        """A hook that hangs delays no caller that waits for the reported token."""
        reported, go_on = threading.Event(), threading.Event()

        def hang(_):
            reported.set()
            go_on.wait(60)

        keeper.add_hook(hang)
        try:
            assert keeper.get_token("api", timeout=20) == "api-1"
            assert reported.wait(20)
        finally:
            go_on.set()

    @pytest.mark.parametrize("hook", [None, "a name", 3])
    def test_no_hook(self, keeper, hook):
        """An object that can't be called is rejected when it is passed."""
        with pytest.raises(InvalidConfigurationError, match="must be callable") as caught:
            keeper.add_hook(hook)
        assert caught.value.field == "hooks"
        with pytest.raises(InvalidConfigurationError, match="must be callable"):
            TokenKeeper(hooks=[hook])


@pytest.mark.parametrize("background", [True, False])
def test_a_hook_may_ask_for_tokens(clock, source, background):
    """A hook may request a new token when a token was rejected."""
    got = queue.SimpleQueue()

    def ask(event):
        if isinstance(event, TokenRefused):
            got.put(keeper.get_token("api", timeout=20))

    with TokenKeeper(clock=clock, hooks=[ask], background=background) as keeper:
        keeper.add_provider(source)
        assert keeper.renew_refused("api", keeper.get_token("api")) == "api-2"
        assert got.get(timeout=20) == "api-2"  # before the keeper closes


def test_a_hook_may_cause_events(clock, source):
    """An event that a hook causes is delivered to it afterwards, not during its call."""
    reported = []

    def clear(event):
        reported.append(f"{type(event).__name__} begins")
        if isinstance(event, TokenAcquired):
            keeper.clear_token()
        reported.append("ends")

    with TokenKeeper(clock=clock, hooks=[clear], background=False) as keeper:
        keeper.add_provider(source)
        keeper.get_token("api")
    assert reported == ["TokenAcquired begins", "ends", "TokenCleared begins", "ends"]


def test_an_interrupted_hook_gets_later_events(clock, source):
    """Ctrl-C inside a hook reaches the interrupted caller; token and later events are unharmed."""
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
