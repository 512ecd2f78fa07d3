"""Hooks that raise and hooks that hang affect nothing else."""

import math
import os
import queue
import threading

import pytest
from kit.watching import Watcher

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
    """A hook that hangs at its first events until it is released."""

    def __init__(self, events=math.inf):
        self.events = events
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.reported = queue.SimpleQueue()

    def __call__(self, event):
        self.entered.set()
        if self.events > 0:
            self.events -= 1
            assert self.go_on.wait(60), "nobody let it go on"
        self.reported.put(event)


class TestHooksThatRaise:
    """Hooks that raise affect nothing else."""

    @pytest.fixture
    def broken(self, keeper):
        def broken(event):
            raise RuntimeError("a hook's own fault")

        keeper.add_hook(broken)

    def test_tokens_are_renewed_anyway(self, keeper, source, clock, look, broken, caplog):
        """Tokens are acquired, renewed, refused and cleared as usual, and each error is logged."""
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
        assert "failed at TokenAcquired" in caplog.text
        assert caplog.text.count("a hook's own fault") >= 6

    def test_refused_in_the_middle(self, keeper, broken):
        """A caller whose token was rejected still gets a renewal."""
        refused = keeper.get_token("api")
        assert keeper.renew_refused("api", refused) == "api-2"


class TestHooksThatHang:
    """Hooks that hang keep one thread, and get later events once they continue."""

    @pytest.fixture
    def hook(self, keeper):
        hook = Hanging()
        keeper.add_hook(hook)
        yield hook
        hook.go_on.set()

    def test_other_threads_continue(self, clock, source):
        """A hook that hangs forever occupies no second worker, and renewals continue."""
        hook = Hanging()
        with TokenKeeper(clock=clock, hooks=[hook], max_workers=2) as keeper:
            keeper.add_provider(source)
            try:
                for number in range(1, 6):
                    token = keeper.get_token("api", force_refresh=True, timeout=20)
                    assert token == f"api-{number}"
            finally:
                hook.go_on.set()

    def test_other_hooks_get_events(self, keeper, hook, watcher):
        """Each hook has its own queue: hooks after the one that hangs get their events."""
        keeper.get_token("api")
        assert hook.entered.wait(20)
        for _ in range(2):  # the thread that delivers to the first hook hangs
            keeper.get_token("api", force_refresh=True)
        reported = [watcher.next() for _ in range(3)]
        assert [type(event) for event in reported] == [TokenAcquired, TokenRenewed, TokenRenewed]

    def test_in_their_order(self, keeper, hook, watcher, source):
        """Events that a slow hook gets late are in the order in which they happened."""
        hook.events = 1
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        assert hook.entered.wait(20)
        source.error = None
        keeper.get_token("api", force_refresh=True)
        hook.go_on.set()
        assert [type(hook.reported.get(timeout=20)) for _ in range(3)] == [
            AcquisitionFailed,
            CooledDown,
            TokenAcquired,
        ]
        reported = [watcher.next() for _ in range(3)]
        assert [type(event) for event in reported] == [AcquisitionFailed, CooledDown, TokenAcquired]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
    def test_in_a_forked_child(self, keeper, hook, exit_code_of):
        """A child delivers its own events, although a thread of the parent is inside the hook."""
        keeper.get_token("api")
        assert hook.entered.wait(20)
        keeper.clear_token()  # enqueued: the parent delivers it
        keeper.get_token("api")

        def child():
            hook.go_on.set()
            hook.reported = queue.SimpleQueue()
            keeper.clear_token()
            reported = hook.reported.get(timeout=20)
            return 0 if isinstance(reported, TokenCleared) and hook.reported.empty() else 1

        assert exit_code_of(child) == 0
