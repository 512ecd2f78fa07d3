"""Short tokens of Entra, renewed in the background while threads and tasks present them."""

import threading
import time

import anyio
import pytest
from kit.servers.base import Answer
from kit.servers.entra import cut

from tokenkeeper import TokenAcquisitionError, TokenRefreshError
from tokenkeeper.events import RenewalFailed, TokenRenewed

LIFETIME = 3
SECONDS = 10
EARLIEST_SECONDS = (LIFETIME - LIFETIME / 20 - 1) / 2  # see tokenkeeper/schedule.py
THREADS, TASKS = 4, 8
PAUSE_SECONDS = 0.05  # so that the callers leave the server some processor time


@pytest.fixture
def readers(kit, watch):
    """Return a function that lists jobs which read tokens in threads and on both event loops."""

    def run(keeper, at_work):
        manager = kit.WatchedManager(keeper)
        pause = threading.Event()

        def thread():
            while at_work() and not watch.rejected:
                keeper.get_token("graph")
                pause.wait(PAUSE_SECONDS)

        async def task():
            while at_work() and not watch.rejected:
                await manager.get_token("graph")
                await anyio.sleep(PAUSE_SECONDS * TASKS)

        def loop(backend):
            assert kit.tasks_at_once(backend, TASKS, task) == [None] * TASKS

        return [*[thread] * THREADS, lambda: loop("asyncio"), lambda: loop("trio")]

    return run


def test_short_tokens(kit, entra, make_keeper, make_provider, watch, readers):
    """The API rejects no token, no caller waits for a renewal, and each renewal is one request."""
    entra.lifetime_seconds = LIFETIME
    watch.margin_seconds = LIFETIME / 20
    keeper = make_keeper(make_provider())
    began = time.monotonic()
    keeper.get_token("graph")
    jobs = readers(keeper, lambda: time.monotonic() < began + SECONDS)
    assert kit.at_once(*jobs) == [None] * len(jobs)
    watch.assert_flawless()

    # A stall for as long as a token is valid proves nothing. It may cost a request whose token has
    # expired on arrival, but it must not be the usual case.
    stalls = len(set(watch.expired))

    def renewals():
        count = keeper.get_cached_token_info("graph")["renewals"]
        return count if len(entra.requests) <= count + 1 + stalls else 0

    count = kit.until(renewals, "one request for each renewal")
    took = time.monotonic() - began
    assert SECONDS / LIFETIME / 2 <= count <= took / EARLIEST_SECONDS
    assert len(entra.requests) >= count + 1
    assert entra.discoveries == 1
    assert entra.most_at_once == 1
    assert set(entra.correlations().values()) == {1}
    assert stalls <= count / 4
    assert len(watch.late) <= len(watch.accepted) / 4


FAULTS = {
    "503": Answer(503, {"error": "temporarily_unavailable"}),
    "429": Answer(429, {"error": "throttled"}, {"Retry-After": "0"}),
    "page": Answer(200, b"<html>sign in</html>", {"Content-Type": "text/html"}),
    "reset": cut(100),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_renewals_that_fail_while_a_token_is_valid(
    kit, entra, make_keeper, make_provider, watch, readers, fault
):
    """No caller notices two failed renewals, and the third one succeeds."""
    entra.lifetime_seconds = 5
    watch.margin_seconds = entra.lifetime_seconds / 20
    events = []
    keeper = make_keeper(make_provider(), hooks=[lambda event: events.append(type(event))])
    before = keeper.get_token("graph")
    entra.script.extend([fault] * 2)
    ends = time.monotonic() + kit.GUARD_SECONDS

    def at_work():
        renewals = keeper.get_cached_token_info("graph")["renewals"]
        return renewals == 0 and time.monotonic() < ends

    jobs = readers(keeper, at_work)
    assert kit.at_once(*jobs) == [None] * len(jobs)  # no job raised an exception
    watch.assert_flawless()
    if watch.expired:
        pytest.skip("the machine stalled for as long as a token is valid")
    kit.until(lambda: TokenRenewed in events, "the report of the renewal")
    assert events[: events.index(TokenRenewed)].count(RenewalFailed) == 2
    assert len(entra.requests) >= 4
    assert keeper.get_token("graph") != before
    assert keeper.get_cached_token_info("graph")["failures"] == 0


def test_an_outage_that_outlives_the_token(kit, entra, make_keeper, make_provider, watch):
    """After the token's expiry there is a clear error, and after the outage a new token."""
    entra.lifetime_seconds = 2
    watch.margin_seconds = entra.lifetime_seconds / 20
    keeper = make_keeper(make_provider(), cooldown_seconds=0.1)
    before = keeper.get_token("graph")
    entra.outage = FAULTS["503"]

    def ask():
        try:
            assert keeper.get_token("graph") == before
        except TokenAcquisitionError as error:
            return error
        return None

    error = kit.until(ask, "the expiry of the token")
    assert type(error) is TokenRefreshError
    assert error.status_code == 503
    assert "'graph'" in str(error)
    assert "temporarily_unavailable" in str(error)
    assert "contact the server's operator" in str(error)
    assert keeper.get_cached_token_info("graph")["state"] == "expired"
    entra.outage = None

    def recovered():
        try:
            return keeper.get_token("graph")
        except TokenRefreshError:
            return None

    assert kit.until(recovered, "a token after the outage") != before
    assert keeper.get_cached_token_info("graph")["last_error"] is None


def test_a_retry_after_in_the_background(kit, entra, make_keeper, make_provider, watch):
    """A background renewal waits for Retry-After, and callers get the current token meanwhile."""
    entra.lifetime_seconds = 5
    watch.margin_seconds = entra.lifetime_seconds / 20
    keeper = make_keeper(make_provider())
    keeper.get_token("graph")
    entra.script.append(Answer(429, {"error": "throttled"}, {"Retry-After": "1"}))

    def renewed():
        keeper.get_token("graph")
        return len(entra.requests) >= 3

    kit.until(renewed, "the renewal after the wait")
    _, throttled, again = (request.monotonic for request in entra.requests[:3])
    assert again - throttled >= 1.0
