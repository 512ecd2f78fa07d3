"""Hooks that raise, and hooks that hang, harm nobody."""

import math
import os
import queue
import threading

import pytest
from events.watching import Watcher

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    RenewalFailed,
    ServedStale,
    TokenAcquired,
    TokenCleared,
    TokenRefused,
    TokenRenewed,
)

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)


class Hanging:
    """A hook that hangs at its first events until it may go on."""

    def __init__(self, events=math.inf):
        self.events = events
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.told = queue.SimpleQueue()

    def __call__(self, event):
        self.entered.set()
        if self.events > 0:
            self.events -= 1
            assert self.go_on.wait(60), "nobody let it go on"
        self.told.put(event)


class TestHooksThatRaise:
    """They harm nothing."""

    @pytest.fixture
    def broken(self, keeper):
        def broken(event):
            raise RuntimeError("a hook's own fault")

        keeper.add_hook(broken)

    def test_tokens_come_all_the_same(self, keeper, source, clock, look, broken, caplog):
        """Acquiring, renewing, failing, refusing and clearing go on, and each fault is logged."""
        watcher = Watcher()
        keeper.add_hook(watcher)
        assert keeper.get_token("api") == "api-1"
        assert isinstance(watcher.next(), TokenAcquired)
        clock.step(3241)
        look(keeper)
        assert isinstance(watcher.next(), TokenRenewed)
        assert keeper.renew_refused("api", "api-2") == "api-3"
        assert {type(watcher.next()) for _ in range(2)} == {TokenRefused, TokenRenewed}
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api", force_refresh=True)
        assert isinstance(watcher.next(), RenewalFailed)
        assert isinstance(watcher.next(), ServedStale)
        keeper.clear_token()
        assert isinstance(watcher.next(), TokenCleared)
        keeper.close()
        assert "a hook failed at TokenAcquired" in caplog.text
        assert caplog.text.count("a hook's own fault") >= 6

    def test_refused_in_the_middle(self, keeper, broken):
        """A caller that was refused still gets its renewal."""
        refused = keeper.get_token("api")
        assert keeper.renew_refused("api", refused) == "api-2"


class TestHooksThatHang:
    """They keep one thread, and miss what happens meanwhile until they go on."""

    @pytest.fixture
    def hook(self, keeper):
        hook = Hanging()
        keeper.add_hook(hook)
        yield hook
        hook.go_on.set()

    def test_the_other_threads_go_on(self, clock, source):
        """A hook that hangs for ever takes no second worker, and tokens go on being renewed."""
        hook = Hanging()
        with TokenKeeper(clock=clock, hooks=[hook], max_workers=2) as keeper:
            keeper.add_provider(source)
            try:
                for number in range(1, 6):
                    token = keeper.get_token("api", force_refresh=True, timeout=20)
                    assert token == f"api-{number}"
            finally:
                hook.go_on.set()

    def test_the_other_hooks_are_told(self, keeper, hook, watcher):
        """Each hook has a line of its own: who comes after the one that hangs is told."""
        keeper.get_token("api")
        assert hook.entered.wait(20)
        for _ in range(2):  # the thread that tells the watcher of the first one hangs
            keeper.get_token("api", force_refresh=True)
        told = [watcher.next() for _ in range(3)]
        assert [type(event) for event in told] == [TokenAcquired, TokenRenewed, TokenRenewed]

    def test_in_their_order(self, keeper, hook, watcher, source):
        """What a slow hook is told late comes in the order in which it happened."""
        hook.events = 1
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        assert hook.entered.wait(20)
        source.error = None
        keeper.get_token("api", force_refresh=True)
        hook.go_on.set()
        assert [type(hook.told.get(timeout=20)) for _ in range(3)] == [
            AcquisitionFailed,
            CooledDown,
            TokenAcquired,
        ]
        told = [watcher.next() for _ in range(3)]
        assert [type(event) for event in told] == [AcquisitionFailed, CooledDown, TokenAcquired]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
    def test_in_a_forked_child(self, keeper, hook, exit_code_of):
        """A child tells its own events, though a thread that it has not is in the hook."""
        keeper.get_token("api")
        assert hook.entered.wait(20)
        keeper.clear_token()  # lined up: the parent's to tell
        keeper.get_token("api")

        def child():
            hook.go_on.set()
            hook.told = queue.SimpleQueue()
            keeper.clear_token()
            told = hook.told.get(timeout=20)
            return 0 if isinstance(told, TokenCleared) and hook.told.empty() else 1

        assert exit_code_of(child) == 0
