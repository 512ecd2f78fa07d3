"""Who is told what of a token's life, and that no hook harms anybody."""

import asyncio
import contextvars
import dataclasses
import json
import logging
import math
import os
import pickle
import queue
import threading
from datetime import UTC, datetime

import anyio
import pytest

from tokenkeeper import (
    BaseOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
    events,
)
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    RenewalFailed,
    ServedStale,
    TokenAcquired,
    TokenCleared,
    TokenEvent,
    TokenRefused,
    TokenRenewed,
)
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.testing import StaticProvider

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


class Watcher(queue.SimpleQueue):
    """A hook that keeps what it is told."""

    def __call__(self, event):
        self.put(event)

    def next(self):
        return self.get(timeout=20)


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


@pytest.fixture
def watcher(keeper):
    watcher = Watcher()
    keeper.add_hook(watcher)
    return watcher


def at(clock):
    return datetime.fromtimestamp(clock.time(), UTC)


class TestWhatIsTold:
    """One record for each thing that happens."""

    def test_acquired(self, keeper, watcher, clock):
        """A first token is told with its requests, its time and its life."""
        keeper.get_token("api")
        assert watcher.next() == TokenAcquired("api", at(clock), 1, 0.0, 3600.0)

    def test_renewed(self, keeper, watcher, clock, look):
        """A renewal in the background is told as such."""
        keeper.get_token("api")
        watcher.next()
        clock.step(3241)
        look(keeper)
        assert watcher.next() == TokenRenewed("api", at(clock), 1, 0.0, 3600.0)

    def test_reads_are_not_told(self, keeper, watcher):
        """Reading a token that is held tells nobody."""
        for _ in range(10):
            keeper.get_token("api")
        watcher.next()
        assert watcher.empty()

    def test_retries_count(self, keeper, watcher, make_source, clock):
        """The requests and the waits between them are told."""
        flaky = make_source("flaky", retry=RetryPolicy(attempts=3))
        keeper.add_provider(flaky)
        flaky.error = OUTAGE
        before = clock.monotonic()
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("flaky")
        told = watcher.next()
        assert (told.attempts, told.duration_seconds) == (3, clock.monotonic() - before)
        assert told.duration_seconds > 0

    def test_acquisition_failed(self, keeper, watcher, source, clock):
        """A refusal is told with all that is known of it, and the cooldown that follows."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        assert watcher.next() == AcquisitionFailed(
            "api", at(clock), 1, 0.0, 0.0, "invalid_client", 401, "wrong secret"
        )
        assert watcher.next() == CooledDown("api", at(clock), 30.0)

    def test_callers_in_the_cooldown_are_not_told_again(self, keeper, watcher, source):
        """A hot loop during the cooldown makes no event of its own."""
        source.error = WRONG_SECRET
        for _ in range(10):
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token("api")
        watcher.next()
        watcher.next()
        assert watcher.empty()

    def test_served_stale(self, keeper, watcher, source, clock, look):
        """A renewal that fails is told with what is left of the token that is served."""
        keeper.get_token("api")
        watcher.next()
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        failed, stale = watcher.next(), watcher.next()
        assert failed == RenewalFailed("api", at(clock), 1, 0.0, 359.0, None, 503, "down")
        assert stale == ServedStale("api", at(clock), 359.0)

    def test_failed_after_the_end(self, keeper, watcher, source, clock):
        """Once the old token has ended a failure is no longer served stale, but cools down."""
        keeper.get_token("api")
        watcher.next()
        source.error = WRONG_SECRET
        clock.step(4000)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        assert isinstance(watcher.next(), RenewalFailed)
        assert isinstance(watcher.next(), CooledDown)

    def test_refused_by_a_crowd(self, keeper, watcher, source, in_thread):
        """A token that many workers were refused with is told once."""
        refused = keeper.get_token("api")
        watcher.next()
        source.gate.clear()
        threads = [in_thread(keeper.renew_refused, "api", refused)[0] for _ in range(8)]
        assert source.entered.acquire(timeout=20)
        source.gate.set()
        for thread in threads:
            thread.join(20)
        told = [watcher.next(), watcher.next()]
        assert sorted(type(event).__name__ for event in told) == ["TokenRefused", "TokenRenewed"]
        assert watcher.empty()

    def test_cleared(self, keeper, watcher, make_source, clock):
        """Forgetting tokens is told for each that there was."""
        keeper.add_provider(make_source("other"))
        keeper.add_provider(make_source("never asked"))
        for name in ("api", "other"):
            keeper.get_token(name)
            watcher.next()
        keeper.clear_token()
        assert [watcher.next(), watcher.next()] == [
            TokenCleared("api", at(clock)),
            TokenCleared("other", at(clock)),
        ]
        assert watcher.empty()

    def test_removed(self, keeper, watcher):
        """Removing a provider clears its token."""
        keeper.get_token("api")
        watcher.next()
        keeper.remove_provider("api")
        assert isinstance(watcher.next(), TokenCleared)

    @pytest.mark.parametrize("error", [None, WRONG_SECRET])
    def test_what_does_not_count_is_not_told(self, keeper, watcher, source, in_thread, error):
        """What came after a token was cleared is given to who waits, and told to nobody."""
        source.error = error
        source.gate.clear()
        thread, outcomes = in_thread(keeper.get_token, "api")
        assert source.entered.acquire(timeout=20)
        keeper.clear_token("api")
        source.gate.set()
        thread.join(20)
        assert keeper.health()["status"] == "ok"
        keeper.close()
        assert [str(outcome) for outcome in outcomes] == ["api-1" if error is None else str(error)]
        assert watcher.empty()

    def test_an_interruption_is_not_told(self, clock, source):
        """A request that Ctrl-C ended says nothing of the provider, to hooks or to probes."""
        watcher = Watcher()
        source.error = KeyboardInterrupt()
        with TokenKeeper(clock=clock, hooks=[watcher], background=False) as keeper:
            keeper.add_provider(source)
            with pytest.raises(KeyboardInterrupt):
                keeper.get_token("api")
            assert keeper.health()["providers"]["api"]["status"] == "idle"
        assert watcher.empty()

    def test_an_error_that_is_no_server_s(self, keeper, watcher, source):
        """A provider that needs a keeper which was closed fails with what is known: little."""
        source.error = KeeperClosedError("closed")
        with pytest.raises(KeeperClosedError):
            keeper.get_token("api")
        told = watcher.next()
        assert (told.error, told.status_code, told.reason) == (None, None, "closed")


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


@pytest.mark.parametrize("background", [True, False])
def test_a_hook_may_ask_for_tokens(clock, source, background):
    """A hook that is told of a refusal, and asks for the token in its place, gets it."""
    got = []

    def ask(event):
        if isinstance(event, TokenRefused):
            got.append(keeper.get_token("api", timeout=5))

    with TokenKeeper(clock=clock, hooks=[ask], background=background) as keeper:
        keeper.add_provider(source)
        assert keeper.renew_refused("api", keeper.get_token("api")) == "api-2"
    assert got == ["api-2"]


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


class TestContext:
    """Whose context variables, and so whose trace, a request and its events belong to."""

    @pytest.fixture
    def request_id(self):
        return contextvars.ContextVar("request_id", default=None)

    @pytest.fixture
    def seen(self, keeper, request_id):
        """Return what the hooks are told, and whose it is."""
        seen = queue.SimpleQueue()
        keeper.add_hook(lambda event: seen.put((type(event), request_id.get())))
        return seen

    def test_of_a_caller(self, keeper, source, request_id, seen):
        """The first token belongs to the caller who began to fetch it, also on a worker."""
        acquire, fetched_for = source.acquire_token, []

        def acquire_token():
            fetched_for.append(request_id.get())
            return acquire()

        source.acquire_token = acquire_token
        contextvars.copy_context().run(lambda: (request_id.set("r1"), keeper.get_token("api")))
        assert seen.get(timeout=20) == (TokenAcquired, "r1")
        assert fetched_for == ["r1"]

    def test_of_a_renewal(self, keeper, clock, look, request_id, seen, monkeypatch):
        """A renewal belongs to nobody, even if its thread was started by a caller of old."""

        class Inheriting(threading.Thread):  # as OpenTelemetry's instrumentation makes all of them
            def start(self):
                self.context = contextvars.copy_context()
                super().start()

            def run(self):
                self.context.run(super().run)

        monkeypatch.setattr(threading, "Thread", Inheriting)
        contextvars.copy_context().run(lambda: (request_id.set("r1"), keeper.get_token("api")))
        assert seen.get(timeout=20) == (TokenAcquired, "r1")
        clock.step(3241)
        look(keeper)
        assert seen.get(timeout=20) == (TokenRenewed, None)

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_without_the_event_loop(self, keeper, clock, backend):
        """A provider that runs a loop of its own is not taken to be in that of the caller."""

        class RunsALoop(BaseOAuth2Provider):
            def acquire_token(self):
                anyio.run(anyio.sleep, 0)
                return StaticProvider("static", "a token", clock=clock).acquire_token()

        keeper.add_provider(RunsALoop("looping"))
        assert anyio.run(OAuth2TokenManager(keeper).get_token, "looping", backend=backend)


class TestRecords:
    """They are values."""

    def every_kind(self):
        now = datetime(2026, 1, 2, tzinfo=UTC)
        yield from (kind("api", now, 1, 0.5, 60.0) for kind in (TokenAcquired, TokenRenewed))
        for kind in (AcquisitionFailed, RenewalFailed):
            yield kind("api", now, 1, 0.5, 0.0, "invalid_client", 401, "no")
        yield ServedStale("api", now, 5.0)
        yield CooledDown("api", now, 30.0)
        yield from (kind("api", now) for kind in (TokenRefused, TokenCleared))

    def test_every_kind_is_there(self):
        """The module names each kind, and each is an event."""
        kinds = {type(event).__name__ for event in self.every_kind()}
        families = {"TokenEvent", "TokenGranted", "TokenDenied", "EventHook"}
        assert kinds | families == set(events.__all__)
        assert all(isinstance(event, TokenEvent) for event in self.every_kind())

    def test_frozen(self):
        """A record can't be changed, is equal to its like, and travels."""
        for event in self.every_kind():
            with pytest.raises(dataclasses.FrozenInstanceError):
                event.provider_name = "other"
            assert pickle.loads(pickle.dumps(event)) == event
            assert event in {event}


class TestLogLines:
    """The log is told as a hook is, and its records carry the event's fields."""

    @pytest.fixture(autouse=True)
    def level(self, caplog):
        caplog.set_level(logging.DEBUG, "tokenkeeper")

    def test_a_token_that_came(self, keeper, clock, caplog):
        """An acquisition is a line with its figures."""
        keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("tokenkeeper.events", "INFO")
        assert record.getMessage() == "provider 'api': token acquired"
        assert record.event_name == "TokenAcquired"
        assert record.provider_name == "api"
        assert (record.attempts, record.duration_seconds) == (1, 0.0)
        assert record.remaining_seconds == 3600.0
        assert record.occurred_at == at(clock).isoformat()

    def test_a_token_that_did_not_come(self, keeper, source, caplog):
        """A failure is a warning, with the server's code in a field; a cooldown is no line."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage() == "provider 'api': token not acquired: wrong secret"
        assert (record.event_name, record.error, record.status_code) == (
            "AcquisitionFailed",
            "invalid_client",
            401,
        )

    def test_the_provider_is_named_once(self, keeper, source, caplog):
        """An error that names its provider is logged as it is."""
        source.error = TokenAcquisitionError("provider 'api': down", status_code=503)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        keeper.close()
        assert caplog.messages == ["token not acquired: provider 'api': down"]

    def test_a_renewal_that_failed(self, keeper, source, clock, look, caplog):
        """A failed renewal says so, and how long the token at hand lives."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        keeper.close()
        record = caplog.records[-1]
        assert record.getMessage() == "provider 'api': token not renewed: down"
        assert record.remaining_seconds == 359.0

    def test_no_secret(self, keeper, caplog):
        """No field of a record holds the token."""
        token = keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert token not in json.dumps(vars(record))

    def test_no_secret_of_an_error(self, keeper, source, caplog):
        """The text of a foreign error, which may hold a token, is in no event and no record."""
        watcher = Watcher()
        keeper.add_hook(watcher)
        source.error = ValueError("no JSON: access_token=s3cr3t")
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        told = watcher.next()
        keeper.close()
        (record,) = caplog.records
        assert record.exc_info is None
        assert "s3cr3t" not in json.dumps(vars(record)) + repr(told) + str(told.reason)

    def test_an_hour_of_outage(self, keeper, source, clock, look, caplog):
        """An hour in which the server is down is some hundred lines, not thousands."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        began = clock.monotonic()
        while clock.monotonic() < began + 3600:
            look(keeper)
            clock.step(1)
        keeper.close()
        assert 50 < len(caplog.records) < 200

    def test_a_wrong_secret_in_a_hot_loop(self, keeper, source, caplog):
        """Two thousand calls that are refused during one cooldown are one line."""
        source.error = WRONG_SECRET
        for _ in range(2000):
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token("api")
        keeper.close()
        assert len(caplog.records) == 1

    def test_nothing_is_made_for_nobody(self, keeper, caplog):
        """With the level set higher, no line is written."""
        caplog.set_level(logging.ERROR, "tokenkeeper")
        keeper.get_token("api")
        keeper.close()
        assert not caplog.records
