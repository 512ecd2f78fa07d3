"""Subscriptions: callbacks that get each new token."""

import asyncio
import gc
import threading
import warnings
import weakref
from contextlib import ExitStack
from functools import partial
from types import SimpleNamespace

import anyio
import pytest
from kit import internals
from kit.guards import GUARD_SECONDS, until_async
from kit.providers import Source

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper._renewal import subscriber_loop
from tokenkeeper._renewal.subscriber_loop import SubscriberLoop


class Inbox:
    """Collects tokens, and lets a test wait for them."""

    def __init__(self):
        self.tokens = []
        self.threads = []
        self._came = threading.Semaphore(0)

    def put(self, token):
        self.tokens.append(token.access_token)
        self.threads.append(threading.get_ident())
        self._came.release()

    def wait(self, count=1):
        for _ in range(count):
            assert self._came.acquire(timeout=GUARD_SECONDS)
        return self.tokens


@pytest.fixture
def inline(clock):
    """Return a keeper without threads, whose subscribers are called before a caller returns."""
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(Source(clock=clock))
        yield keeper


@pytest.fixture
def make_keeper(clock):
    """Return a function that makes keepers of one provider, with threads."""
    with ExitStack() as stack:

        def make(provider, **options):
            keeper = stack.enter_context(TokenKeeper(clock=clock, **options))
            keeper.add_provider(provider)
            return keeper

        yield make


class TestTokens:
    """Which tokens a subscriber gets."""

    def test_each_new_one(self, inline, clock):
        """It gets the first token, each renewal and each forced one, in order, and none twice."""
        source, inbox = inline.source("api"), Inbox()
        source.subscribe(inbox.put)
        source.token()
        source.token()
        clock.step(3400)
        source()
        source.get_token(force_refresh=True)
        source.renew_refused("api-3")
        assert inbox.tokens == ["api-1", "api-2", "api-3", "api-4"]

    def test_only_of_its_name(self, inline, clock):
        """It gets no token of another provider, nor one with other parameters."""
        inline.add_provider(Source("other", clock=clock))
        inbox = Inbox()
        inline.source("api").subscribe(inbox.put)
        inline.get_token("other")
        assert inbox.tokens == []

    def test_none_for_a_failure(self, inline):
        """A renewal that fails calls nothing."""
        source, inbox = inline.source("api"), Inbox()
        source.subscribe(inbox.put)
        internals.provider(inline, "api").error = ValueError("no")
        with pytest.raises(TokenAcquisitionError):
            source()
        assert inbox.tokens == []

    def test_the_end(self, inline):
        """The function that subscribe() returned ends it, as often as it is called."""
        source, inbox = inline.source("api"), Inbox()
        end, other = source.subscribe(inbox.put), Inbox()
        source.subscribe(other.put)
        source()
        end()
        end()
        source.get_token(force_refresh=True)
        assert inbox.tokens == ["api-1"]
        assert other.tokens == ["api-1", "api-2"]

    def test_a_closed_keeper(self, inline):
        """Nothing is called after close(), and a new subscription is refused."""
        source = inline.source("api")
        inline.close()
        with pytest.raises(KeeperClosedError):
            source.subscribe(print)

    @pytest.mark.parametrize("callback", [None, "print", 7])
    def test_no_callable(self, inline, callback):
        """What can't be called is refused."""
        with pytest.raises(InvalidConfigurationError, match="callback must be"):
            inline.source("api").subscribe(callback)


class TestUse:
    """A token with a subscription is in use."""

    @pytest.mark.parametrize("is_subscribed", [True, False])
    def test_it_is_renewed(self, make_keeper, clock, is_subscribed):
        """It is renewed in the background although no caller reads it; others are not."""
        keeper = make_keeper(provider := Source(clock=clock), idle_timeout_seconds=0)
        internals.take_over_scheduler(keeper)
        source, inbox = keeper.source("api"), Inbox()
        source.token()
        if is_subscribed:
            source.subscribe(inbox.put)
        for _ in range(3):
            clock.step(3400)
            for due in internals.take_due(keeper):
                internals.renew(keeper, due)
            if is_subscribed:
                inbox.wait()
        assert (provider.requests == 4) is is_subscribed


class TestIsolation:
    """A subscriber that misbehaves affects no one else."""

    def test_what_it_raises(self, inline, caplog):
        """Its exception is logged without the token, and the others are called."""
        source, inbox = inline.source("api"), Inbox()

        def fail(token):
            raise ValueError("broken")

        source.subscribe(fail)
        source.subscribe(inbox.put)
        assert source() == "api-1"
        assert inbox.tokens == ["api-1"]
        assert "a subscriber to the token of 'api' failed" in caplog.text
        assert "api-1" not in caplog.text

    def test_one_that_hangs(self, make_keeper, clock):
        """A subscriber that hangs delays no caller and no other subscriber."""
        keeper = make_keeper(Source(clock=clock))
        source, inbox, gate = keeper.source("api"), Inbox(), threading.Event()
        source.subscribe(lambda token: gate.wait(GUARD_SECONDS))
        source.subscribe(inbox.put)
        assert source() == "api-1"
        assert source.get_token(force_refresh=True) == "api-2"
        assert inbox.wait(2) == ["api-1", "api-2"]
        gate.set()
        assert threading.get_ident() not in inbox.threads

    def test_one_that_ends_itself(self, inline):
        """A callback may end its own subscription, or another one, and gets nothing more."""
        source, seen, other = inline.source("api"), [], Inbox()

        def once(token):
            seen.append(token.access_token)
            for end in ends:
                end()

        ends = [source.subscribe(once), source.subscribe(other.put)]
        source()
        source.get_token(force_refresh=True)
        assert seen == ["api-1"]
        assert other.tokens == []

    def test_one_that_subscribes(self, inline):
        """A callback may use the keeper, and subscribe another one, which gets later tokens."""
        source, inbox = inline.source("api"), Inbox()

        def subscribe(token):
            assert source() == token.access_token
            if token.access_token == "api-1":
                source.subscribe(inbox.put)

        source.subscribe(subscribe)
        source()
        source.get_token(force_refresh=True)
        assert inbox.tokens == ["api-2"]

    def test_an_owner_that_is_gone(self, inline):
        """A method is called only while its object is alive."""
        source, inbox = inline.source("api"), Inbox()
        source.subscribe(inbox.put)
        source()
        tokens = inbox.tokens
        del inbox
        gc.collect()
        source.get_token(force_refresh=True)
        assert tokens == ["api-1"]

    def test_a_keeper_that_is_gone(self, clock):
        """A subscription does not keep a keeper alive."""
        keeper = TokenKeeper(clock=clock)
        keeper.add_provider(Source(clock=clock))
        keeper.source("api").subscribe(Inbox().put)
        gone = weakref.ref(keeper)
        del keeper
        gc.collect()
        assert gone() is None


class TestLoops:
    """A subscriber on an event loop."""

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    @pytest.mark.parametrize("is_async", [True, False])
    def test_on_its_loop(self, make_keeper, clock, backend, is_async):
        """The callback runs on the loop's thread; an async def is awaited there."""
        keeper = make_keeper(Source(clock=clock))
        source = OAuth2TokenManager(keeper).source("api")
        got = []

        async def main():
            came = anyio.Event()

            def put(token):
                got.append((token.access_token, threading.get_ident()))
                came.set()

            async def put_later(token):
                await anyio.lowlevel.checkpoint()
                put(token)

            end = source.subscribe(put_later if is_async else put)
            await source.get_token()
            with anyio.fail_after(GUARD_SECONDS):
                await came.wait()
            end()

        anyio.run(main, backend=backend)
        assert got == [("api-1", threading.get_ident())]

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_a_loop_that_is_closed(self, make_keeper, clock, backend, caplog):
        """It ends with its loop, without a word in the log."""
        keeper = make_keeper(Source(clock=clock))
        source, inbox, other = keeper.source("api"), Inbox(), Inbox()

        async def main():
            source.subscribe(inbox.put)

        anyio.run(main, backend=backend)
        source.subscribe(other.put)
        source()
        source.get_token(force_refresh=True)
        other.wait(2)
        assert inbox.tokens == []
        assert not [each for each in caplog.records if each.levelname == "ERROR"]

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    @pytest.mark.parametrize("is_async", [True, False])
    def test_what_it_raises(self, make_keeper, clock, backend, is_async, caplog):
        """An exception does not end the loop, and is logged."""
        keeper = make_keeper(Source(clock=clock))
        source = OAuth2TokenManager(keeper).source("api")

        async def main():
            came = anyio.Event()

            def fail(token):
                came.set()
                raise ValueError("broken")

            async def fail_later(token):
                fail(token)

            source.subscribe(fail_later if is_async else fail)
            await source.get_token()
            with anyio.fail_after(GUARD_SECONDS):
                await came.wait()
                while "failed" not in caplog.text:
                    await anyio.lowlevel.checkpoint()

        anyio.run(main, backend=backend)
        assert "a subscriber to the token of 'api' failed" in caplog.text

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    @pytest.mark.parametrize("is_async", [True, False])
    def test_one_at_a_time(self, make_keeper, clock, backend, is_async):
        """Tokens come in order; an async def that takes long gets the next one when it is done."""
        keeper = make_keeper(Source(clock=clock))
        source = OAuth2TokenManager(keeper).source("api")
        log = []

        async def main():
            gate, done = anyio.Event(), anyio.Event()

            def put(token):
                log.append(token.access_token)
                if len(log) == 3:
                    done.set()

            async def put_slowly(token):
                log.append(f"begins {token.access_token}")
                await gate.wait()
                await anyio.sleep(0)
                log.append(f"ends {token.access_token}")
                if len(log) == 6:
                    done.set()

            source.subscribe(put_slowly if is_async else put)
            for _ in range(3):
                await source.get_token(force_refresh=True)
            gate.set()
            with anyio.fail_after(GUARD_SECONDS):
                await done.wait()

        anyio.run(main, backend=backend)
        tokens = ["api-1", "api-2", "api-3"]
        assert log == ([f"{w} {t}" for t in tokens for w in ("begins", "ends")]
                       if is_async else tokens)  # fmt: skip

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_one_that_never_ends(self, make_keeper, clock, backend, recwarn):
        """A callback that is under way as its loop ends is cancelled, without a warning."""
        keeper = make_keeper(Source(clock=clock))
        source = OAuth2TokenManager(keeper).source("api")
        ended = []

        async def main():
            begun = anyio.Event()

            async def hang(token):
                begun.set()
                try:
                    await anyio.sleep_forever()
                finally:
                    ended.append(token.access_token)

            source.subscribe(hang)
            await source.get_token()
            with anyio.fail_after(GUARD_SECONDS):
                await begun.wait()
            await source.get_token(force_refresh=True)

        anyio.run(main, backend=backend)
        assert ended == ["api-1"]
        gc.collect()
        assert [str(each.message) for each in recwarn] == []

    def test_a_loop_that_ends_before_the_call_is_awaited(self, caplog):
        """An async def whose task has not begun as its loop ends causes no warning."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")

            async def main():
                async def put(token):
                    pytest.fail("it was called")

                loop = SubscriberLoop.running(pytest.fail)
                assert loop.make(lambda: put(None))
                await asyncio.sleep(0)  # now the task exists, and has not begun

            asyncio.run(main())
            gc.collect()
        assert caplog.text == ""

    def test_a_loop_that_is_gone(self):
        """A loop is held weakly, and makes no calls once it is gone."""

        class Loop:
            def call_soon_threadsafe(self, *_):
                pytest.fail("it was called")

        loop = SubscriberLoop(Loop(), pytest.fail)
        gc.collect()
        assert loop.is_over
        assert not loop.make(print)

    def test_a_loop_that_closes_meanwhile(self):
        """A loop that is closed makes no calls, even if something else still holds it."""
        held = asyncio.new_event_loop()
        loop = SubscriberLoop(held, pytest.fail)
        held.close()
        assert not loop.make(pytest.fail)

    def test_only_what_is_imported(self, make_keeper, clock, monkeypatch):
        """A program without trio, or without asyncio, does not import it for a subscriber."""
        source, seen = make_keeper(Source(clock=clock)).source("api"), []
        imported = {"asyncio": asyncio}
        monkeypatch.setattr(subscriber_loop, "sys", SimpleNamespace(modules=imported))

        async def main():
            came = asyncio.Event()

            async def put(token):
                seen.append(token.access_token)
                came.set()

            source.subscribe(put)
            await source.aio.get_token()
            await asyncio.wait_for(came.wait(), GUARD_SECONDS)

        asyncio.run(main())
        assert seen == ["api-1"]
        imported.clear()
        assert SubscriberLoop.running(pytest.fail) is None

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_an_owner_that_is_gone(self, make_keeper, clock, backend):
        """On a loop, too, a method is called only while its object is alive."""
        keeper = make_keeper(Source(clock=clock))
        source = OAuth2TokenManager(keeper).source("api")

        async def main():
            inbox, other = Inbox(), Inbox()
            tokens = inbox.tokens
            source.subscribe(inbox.put)
            source.subscribe(other.put)
            await source.get_token()
            await until_async(lambda: tokens and other.tokens)
            del inbox
            gc.collect()
            await source.get_token(force_refresh=True)
            await until_async(lambda: len(other.tokens) == 2)
            assert tokens == ["api-1"]

        anyio.run(main, backend=backend)

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_a_loop_is_not_kept(self, make_keeper, clock, backend):
        """A subscription that is over leaves nothing in the keeper once another token came."""
        keeper = make_keeper(Source(clock=clock))
        source = OAuth2TokenManager(keeper).source("api")

        async def main():
            source.subscribe(Inbox().put)
            source.subscribe(print)

        anyio.run(main, backend=backend)
        gc.collect()
        keeper.get_token("api")
        keeper.get_token("api", force_refresh=True)
        assert internals.sizes(keeper)["subscriptions"] == 0

    def test_another_loop(self, make_keeper, clock):
        """Each subscriber is called on its own loop, whichever loop or thread renews."""
        keeper = make_keeper(Source(clock=clock))
        source = OAuth2TokenManager(keeper).source("api")
        seen = {}

        async def subscribe(backend):
            def put(token):
                seen[backend] = token.access_token, threading.get_ident() == here
                came.set()

            came, here = anyio.Event(), threading.get_ident()
            source.subscribe(put)
            ready.release()
            with anyio.fail_after(GUARD_SECONDS):
                await came.wait()

        ready = threading.Semaphore(0)
        threads = [
            threading.Thread(target=partial(anyio.run, subscribe, each, backend=each))
            for each in ("asyncio", "trio")
        ]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert ready.acquire(timeout=GUARD_SECONDS)
        keeper.get_token("api")
        for thread in threads:
            thread.join(GUARD_SECONDS)
        assert seen == {"asyncio": ("api-1", True), "trio": ("api-1", True)}

    def test_an_async_def_without_a_loop(self, make_keeper, clock):
        """It runs on the library's own event loop."""
        source, inbox = make_keeper(Source(clock=clock)).source("api"), Inbox()

        async def put(token):
            asyncio.get_running_loop()
            inbox.put(token)

        source.subscribe(put)
        source()
        assert inbox.wait() == ["api-1"]


class TestForks:
    """A forked child."""

    def test_subscriptions(self, make_keeper, clock):
        """It keeps the subscriptions without a loop, and leaves those of a loop to the parent."""
        keeper = make_keeper(Source(clock=clock))
        source, plain, on_loop = keeper.source("api"), Inbox(), Inbox()
        source.subscribe(plain.put)

        async def main():
            source.subscribe(on_loop.put)
            internals.after_fork_in_child(keeper)
            await OAuth2TokenManager(keeper).get_token("api")
            await anyio.lowlevel.checkpoint()

        anyio.run(main)
        assert plain.wait() == ["api-1"]
        assert on_loop.tokens == []


class TestHooks:
    """remove_hook."""

    def test_it_is_called_no_more(self, inline):
        """A hook that is removed gets no event, and the others go on."""
        removed, kept = [], []
        inline.add_hook(removed.append)
        inline.add_hook(kept.append)
        inline.get_token("api")
        inline.remove_hook(removed.append)
        inline.remove_hook(print)
        inline.get_token("api", force_refresh=True)
        assert (len(removed), len(kept)) == (1, 2)

    def test_pending_events(self, make_keeper, clock):
        """Events that are pending when it is removed are not delivered."""
        events, gate, entered = [], threading.Event(), threading.Event()

        def hook(event):
            events.append(event)
            entered.set()
            gate.wait(GUARD_SECONDS)

        keeper = make_keeper(Source(clock=clock), hooks=[hook])
        keeper.get_token("api")
        assert entered.wait(GUARD_SECONDS)
        keeper.get_token("api", force_refresh=True)
        keeper.remove_hook(hook)
        gate.set()
        keeper.close()
        assert len(events) == 1
