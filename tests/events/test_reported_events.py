"""The events that are reported to hooks, and what is not reported."""

import pytest
from kit.watching import Watcher, at

from tokenkeeper import KeeperClosedError, TokenAcquisitionError, TokenKeeper
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    ProviderRemoved,
    RenewalFailed,
    ServedStale,
    TokenAcquired,
    TokenCleared,
    TokenRenewed,
)
from tokenkeeper.retry import RetryPolicy

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


class TestReported:
    """One record for each thing that happens to a token."""

    def test_acquired(self, keeper, watcher, clock):
        """A first token is reported with its requests, duration and lifetime."""
        keeper.get_token("api")
        assert watcher.next() == TokenAcquired("api", at(clock), 1, 0.0, 3600.0)

    def test_renewed(self, keeper, watcher, clock, look):
        """A renewal in the background is reported as one."""
        keeper.get_token("api")
        watcher.next()
        clock.step(3241)
        look(keeper)
        assert watcher.next() == TokenRenewed("api", at(clock), 1, 0.0, 3600.0)

    def test_reads_are_not_reported(self, keeper, watcher):
        """Reading a cached token is not reported."""
        for _ in range(10):
            keeper.get_token("api")
        watcher.next()
        assert watcher.empty()

    def test_retries_count(self, keeper, watcher, make_source, clock):
        """The requests and the waits between them are reported."""
        flaky = make_source("flaky", retry=RetryPolicy(attempts=3))
        keeper.add_provider(flaky)
        flaky.error = OUTAGE
        before = clock.monotonic()
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("flaky")
        reported = watcher.next()
        assert (reported.attempts, reported.duration_seconds) == (3, clock.monotonic() - before)
        assert reported.duration_seconds > 0

    def test_acquisition_failed(self, keeper, watcher, source, clock):
        """A refusal is reported with its details, and so is the cooldown that follows."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        assert watcher.next() == AcquisitionFailed(
            "api", at(clock), 1, 0.0, 0.0, "invalid_client", 401, "wrong secret"
        )
        assert watcher.next() == CooledDown("api", at(clock), 30.0)

    def test_callers_in_the_cooldown_are_not_reported(self, keeper, watcher, source):
        """A hot loop during the cooldown causes no further events."""
        source.error = WRONG_SECRET
        for _ in range(10):
            with pytest.raises(TokenAcquisitionError):
                keeper.get_token("api")
        watcher.next()
        watcher.next()
        assert watcher.empty()

    def test_served_stale(self, keeper, watcher, source, clock, look):
        """A failed renewal is reported with the remaining lifetime of the token that is served."""
        keeper.get_token("api")
        watcher.next()
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        failed, stale = watcher.next(), watcher.next()
        assert failed == RenewalFailed("api", at(clock), 1, 0.0, 359.0, None, 503, "down")
        assert stale == ServedStale("api", at(clock), 359.0)

    def test_failed_after_the_expiry(self, keeper, watcher, source, clock):
        """After the token's expiry a failure causes a cooldown, and no token is served stale."""
        keeper.get_token("api")
        watcher.next()
        source.error = WRONG_SECRET
        clock.step(4000)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        assert isinstance(watcher.next(), RenewalFailed)
        assert isinstance(watcher.next(), CooledDown)

    def test_refused_for_many_callers(self, keeper, watcher, source, in_thread):
        """A token that many workers report as rejected is reported once."""
        refused = keeper.get_token("api")
        watcher.next()
        source.gate.clear()
        threads = [in_thread(keeper.renew_refused, "api", refused)[0] for _ in range(8)]
        assert source.entered.acquire(timeout=20)
        source.gate.set()
        for thread in threads:
            thread.join(20)
        reported = [watcher.next(), watcher.next()]
        assert sorted(type(event).__name__ for event in reported) == [
            "TokenRefused",
            "TokenRenewed",
        ]
        assert watcher.empty()

    def test_cleared(self, keeper, watcher, make_source, clock):
        """Each cleared token is reported."""
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

    def test_removed(self, keeper, watcher, make_source, clock):
        """The removal of a provider clears its token, if it has one."""
        keeper.add_provider(make_source("never asked"))
        keeper.get_token("api")
        watcher.next()
        keeper.remove_provider("api")
        keeper.remove_provider("never asked")
        assert [watcher.next() for _ in range(3)] == [
            TokenCleared("api", at(clock)),
            ProviderRemoved("api", at(clock)),
            ProviderRemoved("never asked", at(clock)),
        ]
        keeper.add_provider(make_source("last"))
        keeper.close()
        assert watcher.empty()

    @pytest.mark.parametrize("error", [None, WRONG_SECRET])
    def test_a_discarded_token_is_not_reported(self, keeper, watcher, source, in_thread, error):
        """A token that arrives after a clear is given to the waiting callers, and not reported."""
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

    def test_an_interruption_is_not_reported(self, clock, source):
        """A request that Ctrl-C ended is not reported to hooks or probes."""
        watcher = Watcher()
        source.error = KeyboardInterrupt()
        with TokenKeeper(clock=clock, hooks=[watcher], background=False) as keeper:
            keeper.add_provider(source)
            with pytest.raises(KeyboardInterrupt):
                keeper.get_token("api")
            assert keeper.health()["providers"]["api"]["status"] == "idle"
        assert watcher.empty()

    def test_an_error_without_a_server(self, keeper, watcher, source):
        """A provider that uses a closed keeper fails without a server's details."""
        source.error = KeeperClosedError("closed")
        with pytest.raises(KeeperClosedError):
            keeper.get_token("api")
        reported = watcher.next()
        assert (reported.error, reported.status_code, reported.reason) == (None, None, "closed")
