"""Hooks run on their own threads, with bounded queues, so they delay nothing else."""

import asyncio
import contextvars
import logging
import queue
import threading
from collections import deque
from datetime import UTC, datetime

import anyio
import pytest
from kit import internals
from kit.watching import Watcher

from tokenkeeper import OAuth2TokenManager, TokenKeeper
from tokenkeeper._renewal.delivery import MAX_PENDING
from tokenkeeper._renewal.notifier import Notifier
from tokenkeeper.events import TokenAcquired, TokenCleared, TokenRefused

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Hanging:
    """A hook that hangs in its first event until it is released."""

    def __init__(self):
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.got = queue.SimpleQueue()

    def __call__(self, event):
        self.entered.set()
        assert self.go_on.wait(60), "nobody let it go on"
        self.got.put(event)


@pytest.fixture
def hook(keeper):
    """Return a hook that hangs in the event of the first token."""
    hook = Hanging()
    keeper.add_hook(hook)
    keeper.get_token("api")
    assert hook.entered.wait(20)
    yield hook
    hook.go_on.set()


class Fresh:
    """A hook that hangs in the first event after that of the first token."""

    def __init__(self):
        self.hanging = Hanging()

    def __call__(self, event):
        if not isinstance(event, TokenAcquired):
            self.hanging(event)


CALLS = {
    "get_token": lambda keeper: keeper.get_token("api", force_refresh=True, timeout=5),
    "get_oauth2_token": lambda keeper: keeper.get_oauth2_token("api", True, timeout=5),
    "renew_refused": lambda keeper: keeper.renew_refused("api", "api-1", timeout=5),
    "refresh_all": lambda keeper: keeper.refresh_all(),
    "clear_token": lambda keeper: keeper.clear_token("api"),
    "remove_provider": lambda keeper: keeper.remove_provider("api"),
    "health": lambda keeper: keeper.health(),
    "add_hook": lambda keeper: keeper.add_hook(print),
    "close": lambda keeper: keeper.close(),
}


class TestCallers:
    """No caller waits for a hook."""

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    @pytest.mark.parametrize("number_of_hooks", [1, 3])
    def test_the_caller_that_causes_the_event(self, keeper, in_thread, call, number_of_hooks):
        """A call returns although each hook hangs in the event that the call causes."""
        keeper.get_token("api")
        hooks = [Fresh() for _ in range(number_of_hooks)]
        for hook in hooks:
            keeper.add_hook(hook)
        try:
            thread, _ = in_thread(call, keeper)
            thread.join(10)
            assert not thread.is_alive()
        finally:
            for hook in hooks:
                hook.hanging.go_on.set()

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    def test_callers_after_it(self, keeper, hook, in_thread, call):
        """A call returns while a hook hangs in an earlier event."""
        thread, _ = in_thread(call, keeper)
        thread.join(10)
        assert not thread.is_alive()

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_event_loops(self, keeper, backend):
        """An event loop continues while a hook hangs in an event of one of its tasks."""
        hook = Fresh()
        keeper.add_hook(hook)
        manager = OAuth2TokenManager(keeper)

        async def main():
            with anyio.fail_after(20):
                refused = await manager.get_token("api")
                assert await manager.renew_refused("api", refused, timeout=5) == "api-2"
                manager.clear_token("api")
                assert await manager.get_token("api", timeout=5) == "api-3"
                assert await anyio.to_thread.run_sync(hook.hanging.entered.wait, 10)

        loop = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": backend})
        loop.start()
        loop.join(20)
        returned = not loop.is_alive()
        hook.hanging.go_on.set()
        loop.join(20)
        assert returned

    def test_renewals_with_one_worker(self, clock, source):
        """Hooks that hang occupy no worker, not even the only one."""
        hooks = [Hanging(), Hanging()]
        with TokenKeeper(clock=clock, hooks=hooks, max_workers=1) as keeper:
            keeper.add_provider(source)
            try:
                for number in range(1, 4):
                    token = keeper.get_token("api", force_refresh=True, timeout=20)
                    assert token == f"api-{number}"
            finally:
                for hook in hooks:
                    hook.go_on.set()

    def test_a_log_handler_that_hangs(self, keeper, caplog):
        """A log handler that hangs blocks a worker, and no caller."""
        entered, go_on = threading.Event(), threading.Event()

        class Stuck(logging.Handler):
            def emit(self, record):
                entered.set()
                assert go_on.wait(60)

        logger = logging.getLogger("tokenkeeper.events")
        handler, watcher = Stuck(), Watcher()
        caplog.set_level(logging.INFO, logger.name)
        logger.addHandler(handler)
        keeper.add_hook(watcher)
        try:
            token = keeper.get_token("api")
            assert entered.wait(20)
            assert keeper.renew_refused("api", token, timeout=20) == "api-2"
            assert [type(watcher.next()).__name__ for _ in range(3)] == [
                "TokenAcquired",
                "TokenRefused",
                "TokenRenewed",
            ]
        finally:
            go_on.set()
            keeper.close()
            logger.removeHandler(handler)


class TestQueues:
    """The pending events of a hook."""

    def test_bounded_and_counted(self, keeper, hook, caplog):
        """The oldest events beyond the bound are dropped; their number is shown and logged."""
        assert "dropped_events" not in keeper.health()
        for number in range(MAX_PENDING + 500):
            internals.notify(keeper, TokenRefused(f"t{number}", NOW))
        assert keeper.health()["dropped_events"] == 500
        hook.go_on.set()
        assert isinstance(hook.got.get(timeout=20), TokenAcquired)
        got = [hook.got.get(timeout=20).provider_name for _ in range(MAX_PENDING)]
        assert got == [f"t{number}" for number in range(500, MAX_PENDING + 500)]
        keeper.close()
        assert hook.got.empty()
        lines = [line for line in caplog.messages if "dropped" in line]
        assert 1 <= len(lines) <= 4
        assert "Hanging" in lines[0]

    def test_the_others_miss_nothing(self, keeper, hook):
        """A full queue affects only its own hook."""
        watcher = Watcher()
        keeper.add_hook(watcher)
        for number in range(MAX_PENDING + 10):
            internals.notify(keeper, TokenRefused(f"t{number}", NOW))
            assert watcher.next().provider_name == f"t{number}"

    def test_none_is_lost_at_the_bound(self):
        """As many events as fit are all delivered, and none counts as dropped."""
        got, calls = [], []
        hooks = Notifier([got.append], lambda call: calls.append(call) or True)
        for _ in range(MAX_PENDING):
            hooks.enqueue(TokenRefused("api", NOW))
        hooks.deliver()
        calls[-1]()
        assert (len(got), hooks.dropped) == (MAX_PENDING, 0)

    def test_an_event_that_arrives_as_the_deliverer_leaves(self):
        """A deliverer that finds nothing pending looks again after it gave up its place."""
        got, late = [], [TokenCleared("late", NOW)]

        class Pending(deque):
            def __bool__(self):
                something = len(self) > 0
                if not something and late:  # another thread adds an event right after this look
                    hooks.enqueue(late.pop())
                    hooks.deliver()
                return something

        hooks = Notifier(
            [lambda event: got.append(event.provider_name)], lambda call: call() or True
        )
        hooks._hooks[0][1]._pending = Pending()
        hooks.enqueue(TokenRefused("early", NOW))
        hooks.deliver()
        assert got == ["early", "late"]

    @pytest.mark.parametrize("background", [True, False])
    def test_close_delivers_what_is_pending(self, clock, source, background):
        """After close() a slow hook has all events."""
        got, go_on = [], threading.Event()

        def slow(event):
            if background:
                assert go_on.wait(20)
                threading.Event().wait(0.05)
            got.append(type(event).__name__)

        with TokenKeeper(clock=clock, hooks=[slow], background=background) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
            keeper.clear_token()
            with internals.before_threads_end(keeper, go_on.set):
                keeper.close()
        assert got == ["TokenAcquired", "TokenCleared"]


class TestContext:
    """The context in which an event is delivered."""

    @pytest.mark.parametrize("background", [True, False])
    def test_when_another_thread_delivers(self, clock, source, make_source, in_thread, background):
        """An event keeps the context of its own caller, whichever thread calls the hook."""
        request = contextvars.ContextVar("request", default=None)
        got, hook = [], Hanging()

        def note(event):
            hook(event)
            got.append((type(event), event.provider_name, request.get()))

        def as_request(name, call, *arguments):
            request.set(name)
            return call(*arguments)

        def call_as(name, call, *arguments):
            return contextvars.Context().run(as_request, name, call, *arguments)

        with TokenKeeper(clock=clock, hooks=[note], background=background) as keeper:
            keeper.add_provider(source)
            keeper.add_provider(make_source("other"))
            first, _ = in_thread(call_as, "r1", keeper.get_token, "api")
            assert hook.entered.wait(20)
            call_as("r2", keeper.get_token, "other")
            call_as("r3", keeper.clear_token, "other")
            hook.go_on.set()
            first.join(20)
        assert got == [
            (TokenAcquired, "api", "r1"),
            (TokenAcquired, "other", "r2"),
            (TokenCleared, "other", "r3"),
        ]


class TestThreads:
    """The thread on which a hook is called."""

    def test_not_on_the_caller_s(self, keeper):
        """Neither the caller's thread nor a worker calls a hook."""
        names = queue.SimpleQueue()
        keeper.add_hook(lambda _: names.put(threading.current_thread().name))
        keeper.renew_refused("api", keeper.get_token("api"))
        keeper.clear_token()
        assert {names.get(timeout=20) for _ in range(4)} == {"tokenkeeper-notifier"}

    def test_none_without_hooks(self, keeper):
        """Without hooks there is no notifier thread."""
        keeper.renew_refused("api", keeper.get_token("api"))
        keeper.clear_token()
        assert not internals.notifier_threads(keeper)

    def test_on_the_caller_s_without_threads(self, clock, source):
        """Without a background the caller calls the hooks, after its answer is decided."""
        threads = []
        with TokenKeeper(background=False, clock=clock) as keeper:
            keeper.add_provider(source)
            keeper.add_hook(lambda _: threads.append(threading.current_thread()))
            keeper.add_hook(lambda _: threads.append(keeper.get_token("api")))
            keeper.get_token("api")
        assert threads == [threading.current_thread(), "api-1"]

    def test_a_host_that_starts_no_thread(self, clock, source, monkeypatch):
        """On a host without threads, hooks are called anyway."""

        def refuse(self):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        got = []
        with TokenKeeper(clock=clock, hooks=[got.append]) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
            keeper.clear_token()
        assert [type(event).__name__ for event in got] == ["TokenAcquired", "TokenCleared"]

    @pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_an_exit_in_a_hook(self, keeper, raised, caplog):
        """Anything that a hook raises on its thread is logged, and the next event is delivered."""
        got = Watcher()

        def leave(event):
            got(event)
            if isinstance(event, TokenAcquired):
                raise raised

        keeper.add_hook(leave)
        keeper.get_token("api")
        assert isinstance(got.next(), TokenAcquired)
        keeper.clear_token()
        assert isinstance(got.next(), TokenCleared)
        keeper.close()
        assert "failed at TokenAcquired" in caplog.text

    def test_a_hook_may_close_the_keeper(self, keeper):
        """A hook that closes its keeper does not wait for itself."""
        closed = threading.Event()
        keeper.add_hook(lambda _: (keeper.close(), closed.set()))
        keeper.get_token("api")
        assert closed.wait(20)

    def test_outside_of_event_loops(self, keeper):
        """A hook is called outside of the event loop whose task caused the event."""
        loops = queue.SimpleQueue()
        keeper.add_hook(lambda _: loops.put(asyncio._get_running_loop()))

        async def main():
            await OAuth2TokenManager(keeper).get_token("api")
            keeper.clear_token()

        asyncio.run(main())
        assert [loops.get(timeout=20) for _ in range(2)] == [None, None]
