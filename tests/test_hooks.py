"""Who is told what of a token's life, and that no hook harms anybody."""

import asyncio
import dataclasses
import json
import logging
import pickle
import queue
import threading
from datetime import UTC, datetime

import pytest

from tokenkeeper import (
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

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


class Watcher(queue.SimpleQueue):
    """A hook that keeps what it is told."""

    def __call__(self, event):
        self.put(event)

    def next(self):
        return self.get(timeout=20)


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
        assert record.event == "TokenAcquired"
        assert record.provider_name == "api"
        assert (record.attempts, record.duration_seconds) == (1, 0.0)
        assert record.remaining_seconds == 3600.0
        assert record.occurred_at == at(clock)

    def test_a_token_that_did_not_come(self, keeper, source, caplog):
        """A failure is a warning, with the server's code in a field; a cooldown is no line."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage() == "token not acquired: wrong secret"
        assert (record.event, record.error, record.status_code) == (
            "AcquisitionFailed",
            "invalid_client",
            401,
        )

    def test_a_renewal_that_failed(self, keeper, source, clock, look, caplog):
        """A failed renewal says so, and how long the token at hand lives."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        keeper.close()
        record = caplog.records[-1]
        assert record.getMessage() == "token not renewed: down"
        assert record.remaining_seconds == 359.0

    def test_no_secret(self, keeper, caplog):
        """No field of a record holds the token."""
        token = keeper.get_token("api")
        keeper.close()
        (record,) = caplog.records
        assert token not in json.dumps(vars(record), default=str)

    def test_nothing_is_made_for_nobody(self, keeper, caplog):
        """With the level set higher, no line is written."""
        caplog.set_level(logging.ERROR, "tokenkeeper")
        keeper.get_token("api")
        keeper.close()
        assert not caplog.records
