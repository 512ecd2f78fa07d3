"""APIs that reject granted tokens, and servers that grant rejected tokens again."""

import itertools
import threading

import pytest
from kit import internals

from tokenkeeper import (
    OAuth2Token,
    OAuth2TokenManager,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
    TokenRejectedError,
)
from tokenkeeper._renewal.rejections import QUICK_RENEWALS
from tokenkeeper.events import RenewalFailed, TokenCleared, TokenRefused, TokenRejected
from tokenkeeper.testing import EventRecorder

OUTAGE = TokenAcquisitionError("down", status_code=503, transient=True)
WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", transient=False)


def grants(source, texts):
    """Let *source* grant tokens with *texts*, one after the other, each with its full lifetime."""
    texts = iter(texts)
    grant = type(source).acquire_token

    def acquire_token():
        token = grant(source)
        return OAuth2Token(next(texts), "Bearer", token.expires_at)

    source.acquire_token = acquire_token


def told_by(keeper):
    """Return a function that expires the token, and returns the events before that."""
    recorder = EventRecorder()
    keeper.add_hook(recorder)

    def told():
        keeper.clear_token("api")
        recorder.wait_for(TokenCleared)
        return recorder.events[:-1]

    return told


@pytest.fixture
def pause(keeper):
    """Report each new token as rejected until a pause begins; return the token that is kept."""

    def pause():
        token = keeper.get_token("api")
        for _ in range(QUICK_RENEWALS):
            token = keeper.renew_refused("api", token)
        with pytest.raises(TokenRejectedError):
            keeper.renew_refused("api", token)
        return token

    return pause


class TestServerThatGrantsTheRefusedToken:
    """A token is rejected, and the server grants the same one again."""

    @pytest.mark.parametrize(
        ("granted", "got"),
        [
            (["a", "b"], "b"),
            (["a", "a", "b"], "b"),  # an equal token within the same second
        ],
    )
    def test_asked_once_more(self, keeper, source, clock, granted, got):
        """A server that grants the rejected token again is asked once more a second later."""
        grants(source, granted)
        began = clock.monotonic()
        assert keeper.renew_refused("api", keeper.get_token("api")) == got
        assert source.requests == len(granted)
        assert clock.monotonic() - began == len(granted) - 2
        assert keeper.health()["status"] == "ok"

    @pytest.mark.parametrize(
        ("granted", "refused"),
        [
            (itertools.repeat("a"), ["a"]),
            (itertools.cycle("ab"), ["a", "b"]),  # two nodes, each with its own token
            (itertools.cycle("abc"), ["a", "b", "c"]),
        ],
    )
    @pytest.mark.parametrize("attempts", [1, 4])
    def test_an_error_then(self, keeper, source, granted, refused, attempts):
        """If it does so again, renew_refused raises a clear error without another request.

        The token is still served, because the server says that it is valid.
        """
        source.retry = RetryPolicy(attempts=attempts)
        grants(source, granted)
        token = keeper.get_token("api")
        for _ in refused[:-1]:
            token = keeper.renew_refused("api", token)
        for _ in range(5):
            with pytest.raises(TokenRejectedError, match="the same token again") as caught:
                keeper.renew_refused("api", token)
        assert caught.value.provider_name == "api"
        assert not caught.value.transient
        assert caught.value.retry_after == 30.0
        assert source.requests == len(refused) + 2
        served = keeper.get_token("api")
        assert served in refused
        assert source.requests == len(refused) + 2

    def test_said_in_events_and_health(self, keeper, source):
        """One event reports the failed renewal, one the pause, and health degrades."""
        told = told_by(keeper)
        grants(source, itertools.repeat("a"))
        token = keeper.get_token("api")
        for _ in range(10):
            with pytest.raises(TokenRejectedError):
                keeper.renew_refused("api", token)
        health = keeper.health()
        assert health["status"] == "degraded"
        assert health["providers"]["api"]["refused_by_api"] == 1
        assert "the same token again" in health["providers"]["api"]["last_error"]
        events = told()
        kinds = [type(event).__name__ for event in events]
        assert kinds[1:] == ["TokenRefused", "RenewalFailed", "ServedStale", "TokenRejected"]
        failed = next(event for event in events if isinstance(event, RenewalFailed))
        assert "the same token again" in failed.reason
        assert events[-1].pause_seconds == 30.0

    @pytest.mark.slow
    def test_an_hour(self, keeper, source, clock):
        """A server that grants one token for an hour gets a handful of requests in that time."""
        grants(source, itertools.repeat("a"))
        began = clock.monotonic()
        while clock.monotonic() < began + 3600:
            with pytest.raises(TokenRejectedError):
                keeper.renew_refused("api", keeper.get_token("api"))
            clock.step(0.5)
        assert source.requests < 20

    def test_it_grants_another_one_at_last(self, keeper, source, clock):
        """After the pause a rejection causes a request, and its token is returned."""
        grants(source, ["a", "a", "a", "b", "c"])
        with pytest.raises(TokenRejectedError):
            keeper.renew_refused("api", keeper.get_token("api"))
        clock.step(29.9)
        with pytest.raises(TokenRejectedError):
            keeper.renew_refused("api", "a")
        clock.step(0.2)
        assert keeper.renew_refused("api", "a") == "b"
        assert keeper.get_token("api") == "b"
        assert keeper.health()["status"] == "ok"

    def test_whoever_waits_for_any_token_gets_it(self, keeper, source, in_thread):
        """Callers of get_token meanwhile get the token; the rejection is not their error."""
        grants(source, itertools.repeat("a"))
        keeper.get_token("api")
        assert source.entered.acquire(timeout=10)
        source.gate.clear()
        refusing, refusing_got = in_thread(keeper.renew_refused, "api", "a")
        assert source.entered.acquire(timeout=10)
        reading, reading_got = in_thread(keeper.get_token, "api")
        source.gate.set()
        refusing.join(10)
        reading.join(10)
        assert isinstance(refusing_got[0], TokenRejectedError)
        assert reading_got == ["a"]

    def test_a_forced_renewal_takes_what_was_granted_since(self, keeper, source):
        """force_refresh returns a token that was granted after the call began, rejected or not."""
        grants(source, itertools.repeat("a"))
        with pytest.raises(TokenRejectedError):
            keeper.renew_refused("api", keeper.get_token("api"))
        made = source.requests
        assert keeper.get_token("api", force_refresh=True) == "a"
        assert source.requests == made + 1

    def test_closed_meanwhile(self, source, clock, in_thread):
        """The wait before the second request ends when the keeper closes."""
        waits, woken = threading.Event(), threading.Event()

        class Waiting(type(clock)):
            def wait(self, event, timeout):
                if threading.current_thread().name.startswith("tokenkeeper-worker"):
                    waits.set()
                    if event.wait(20):
                        woken.set()
                    return woken.is_set()
                return super().wait(event, timeout)

        keeper = TokenKeeper(clock=Waiting(), jitter=lambda: 0.0)
        source.clock = keeper._clock
        keeper.add_provider(source)
        grants(source, itertools.repeat("a"))
        keeper.get_token("api")
        thread, got = in_thread(keeper.renew_refused, "api", "a")
        assert waits.wait(20)
        keeper.close()
        thread.join(20)
        assert woken.wait(10)
        assert type(got[0]).__name__ == "KeeperClosedError"
        assert source.requests == 2


class TestApiThatRefusesEverything:
    """Each token is a new one, and the API rejects it."""

    def test_a_pause_begins(self, keeper, source, pause):
        """After a few renewals in a row rejections cause no request, and the token is kept."""
        token = pause()
        made = source.requests
        assert made == 1 + QUICK_RENEWALS
        for _ in range(1000):
            with pytest.raises(TokenRejectedError, match="newly granted") as caught:
                keeper.renew_refused("api", token)
        assert caught.value.retry_after == 30.0
        assert keeper.get_token("api") == token
        assert source.requests == made

    @pytest.mark.slow
    @pytest.mark.parametrize("lives", [3600.0, 900.0])
    def test_eight_threads_and_an_hour(self, keeper, source, clock, lives):
        """They cost the token endpoint fewer than 20 requests beside those for expired tokens."""
        source.lifetime = lives
        told, lock = told_by(keeper), threading.Lock()
        tick = threading.Barrier(8, action=lambda: clock.step(5.0))
        wrong = []

        def call():
            token = keeper.get_token("api")
            for _ in range(720):
                try:
                    token = keeper.renew_refused("api", token)
                except TokenRejectedError:
                    token = keeper.get_token("api")
                except Exception as error:  # noqa: BLE001 - what else comes is wrong
                    with lock:
                        wrong.append(error)
                tick.wait(60)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert wrong == []
        assert source.requests < 20
        api = keeper.health()["providers"]["api"]
        assert api["status"] == keeper.health()["status"] == "degraded"
        assert api["refused_by_api"] >= QUICK_RENEWALS
        pauses = [event for event in told() if isinstance(event, TokenRejected)]
        assert 1 <= len(pauses) < 20
        assert pauses[0].pause_seconds == pytest.approx(30.0, abs=5.0)

    @pytest.mark.slow
    @pytest.mark.parametrize("every", [1, 29, 31, 61, 119, 149, 179, 184, 239, 241, 299, 601])
    def test_one_call_now_and_then(self, keeper, source, clock, every):
        """At any rate of API calls, an hour of rejections costs fewer than 20 requests.

        Clients that repeat a rejected request don't report the rejection of the second token.
        """
        for _ in range(3600 // every):
            token = keeper.get_token("api")
            try:
                keeper.renew_refused("api", token)
            except TokenRejectedError:
                assert keeper.get_token("api") == token
            clock.step(every)
        assert source.requests < 20

    def test_pauses_grow(self, keeper, source, clock, pause):
        """Each token that is rejected after a pause doubles the next pause, up to ten minutes."""
        token = pause()
        pauses = []
        for _ in range(8):
            pauses.append(internals.rejection_pause(keeper))
            clock.step(pauses[-1])
            token = keeper.renew_refused("api", token)
            with pytest.raises(TokenRejectedError):
                keeper.renew_refused("api", token)
        assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]

    def test_served_while_it_is_tried_again(self, keeper, source, clock, pause, in_thread):
        """After a pause the token is renewed, and callers of get_token don't wait."""
        token = pause()
        clock.step(30)
        while source.entered.acquire(blocking=False):
            pass
        source.gate.clear()
        refusing = [in_thread(keeper.renew_refused, "api", token) for _ in range(8)]
        assert source.entered.acquire(timeout=10)
        made = source.requests
        assert keeper.get_token("api") == token
        source.gate.set()
        for thread, _ in refusing:
            thread.join(10)
        assert {tuple(got) for _, got in refusing} == {("api-5",)}
        assert source.requests == made

    @pytest.mark.parametrize("error", [OUTAGE, WRONG_SECRET])
    def test_the_server_fails_after_a_pause(self, keeper, source, clock, pause, error):
        """A failed renewal keeps the token, and the next pause has begun."""
        token = pause()
        clock.step(30)
        source.error = error
        with pytest.raises(TokenAcquisitionError, match=str(error)):
            keeper.renew_refused("api", token)
        made = source.requests
        for _ in range(100):
            with pytest.raises(TokenRejectedError):
                keeper.renew_refused("api", token)
        assert keeper.get_token("api") == token
        assert source.requests == made

    def test_the_api_recovers(self, keeper, clock, pause):
        """Health recovers once the API accepts tokens again."""
        pause()
        assert keeper.health()["status"] == "degraded"
        clock.step(31)
        assert keeper.health()["status"] == "ok"

    @pytest.mark.parametrize("lived", [600, 3000])
    def test_a_token_that_was_accepted_ends_the_streak(self, keeper, source, clock, pause, lived):
        """Once a token was accepted for ten minutes, the count of rejections starts again."""
        token = pause()
        clock.step(30)
        token = keeper.renew_refused("api", token)
        clock.step(lived)
        for _ in range(QUICK_RENEWALS):
            token = keeper.renew_refused("api", token)
        with pytest.raises(TokenRejectedError):
            keeper.renew_refused("api", token)

    @pytest.mark.parametrize(
        "fix",
        [
            lambda keeper: keeper.clear_token("api"),
            lambda keeper: keeper.clear_token(),
            internals.reconsider,
        ],
        ids=["clear_token", "clear all", "reload"],
    )
    def test_somebody_fixed_something(self, keeper, pause, fix):
        """Clearing the token, or a changed provider, ends the pause."""
        pause()
        fix(keeper)
        under_way = internals.flight(keeper)  # a changed provider's
        assert under_way is None or under_way.wait(20)
        token = keeper.get_token("api")
        assert keeper.renew_refused("api", token) != token

    def test_names_do_not_share(self, keeper, make_source, pause):
        """A pause of one provider does not affect another."""
        keeper.add_provider(make_source("other"))
        pause()
        assert keeper.renew_refused("other", keeper.get_token("other")) == "other-2"
        assert [each["status"] for each in keeper.health()["providers"].values()] == [
            "degraded",
            "ok",
        ]


class TestRevocations:
    """Real revocations are answered immediately."""

    @pytest.mark.parametrize("seconds", [0, 1, 20, 100])
    def test_a_second_one_soon_after(self, keeper, clock, seconds):
        """A token that is revoked soon after it replaced a revoked one is renewed immediately."""
        token = keeper.get_token("api")
        for _ in range(QUICK_RENEWALS):
            renewed = keeper.renew_refused("api", token)
            assert renewed != token
            token = renewed
            clock.step(seconds)

    @pytest.mark.parametrize("every", [250, 600, 3000])
    def test_again_and_again(self, keeper, clock, every):
        """A token that was used for some minutes is renewed immediately, repeatedly."""
        token = keeper.get_token("api")
        for _ in range(50):
            clock.step(every)
            token = keeper.get_token("api")
            assert keeper.renew_refused("api", token) != token

    def test_a_crowd_counts_once(self, keeper, source):
        """A hundred callers with one rejected token count as one rejection."""
        token = keeper.get_token("api")
        for _ in range(QUICK_RENEWALS):
            (token,) = {keeper.renew_refused("api", token) for _ in range(100)}
        assert source.requests == 1 + QUICK_RENEWALS

    def test_refused_tokens_are_not_kept(self, keeper):
        """Only a digest of a rejected token is kept."""
        token = keeper.get_token("api")
        keeper.renew_refused("api", token)
        assert token not in repr(internals.remembered_rejections(keeper))

    def test_one_event_for_each_refused_token(self, keeper, pause):
        """A token that is reported repeatedly causes one event, and a pause one."""
        told = told_by(keeper)
        token = pause()
        for _ in range(10):
            with pytest.raises(TokenRejectedError):
                keeper.renew_refused("api", token)
        kinds = [type(event) for event in told()]
        assert kinds.count(TokenRefused) == QUICK_RENEWALS + 1
        assert kinds.count(TokenRejected) == 1

    def test_an_unknown_time_of_grant(self, keeper, source):
        """A rejected token that this process did not receive causes one request."""
        assert keeper.renew_refused("api", "of another process") == "api-1"
        assert source.requests == 1


class TestInline:
    """Without background threads."""

    @pytest.fixture
    def inline(self, source, clock):
        with TokenKeeper(clock=clock, background=False) as keeper:
            keeper.add_provider(source)
            yield keeper

    def test_different_tokens(self, inline, source):
        """The same limit holds if callers renew inline."""
        token = inline.get_token("api")
        for _ in range(50):
            try:
                token = inline.renew_refused("api", token)
            except TokenRejectedError:
                assert inline.get_token("api") == token
        assert source.requests == 1 + QUICK_RENEWALS

    def test_the_same_token(self, inline, source):
        """It also holds if the server grants the rejected token again."""
        grants(source, itertools.repeat("a"))
        for _ in range(50):
            token = inline.get_token("api")
            with pytest.raises(TokenRejectedError):
                inline.renew_refused("api", token)
        assert source.requests == 3

    def test_a_forked_child_goes_on(self, keeper, source, pause, exit_code_of):
        """A pause is inherited: the children of one fork don't all start again at once."""
        token = pause()
        made = source.requests

        def child():
            try:
                keeper.renew_refused("api", token, timeout=5)
            except TokenRejectedError:
                return 0 if source.requests == made else 2
            return 1

        assert exit_code_of(child) == 0


@pytest.mark.anyio
async def test_through_the_facade(keeper, source):
    """Tasks get the same error, and wait like threads."""
    manager = OAuth2TokenManager(keeper)
    grants(source, itertools.repeat("a"))
    token = await manager.get_token("api")
    for _ in range(3):
        with pytest.raises(TokenRejectedError):
            await manager.renew_refused("api", token)
    assert await manager.get_token("api") == token
    assert source.requests == 3
