"""What the end of a keeper and of the process waits for."""

import threading

import pytest
from kit import internals
from kit.guards import GUARD_SECONDS, until
from kit.providers import Source

from tokenkeeper import KeeperClosedError, TokenAcquisitionError, TokenKeeper
from tokenkeeper._renewal import one_time
from tokenkeeper._renewal.one_time import OneTimeRequests, finish_all
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.testing import SteppedClock
from tokenkeeper.testing.stores import MemoryTokenStore


class Unpublished:
    """Tokens that are stored at one of the next attempts."""

    def __init__(self, attempts=1):
        self.attempts = attempts

    def store_all(self):
        self.attempts -= 1
        return self.attempts <= 0


@pytest.fixture
def once():
    """Return a source whose grant works once."""
    source = Source("api", clock=SteppedClock())
    source.repeatable = False
    return source


@pytest.fixture
def stepping():
    """Return a clock that each wait steps."""
    return SteppedClock(auto_step=True)


def no_claim():
    raise AssertionError("a request that works once is not given up")


@pytest.fixture
def requests(stepping):
    return OneTimeRequests(Unpublished(), stepping)


class TestFinish:
    """``finish`` waits for what is under way, and not for ever."""

    def test_it_waits_for_the_answer(self, once, in_thread):
        """The end waits until the request is answered."""
        requests, gate, entered = OneTimeRequests(Unpublished()), threading.Event(), []

        def request():
            with requests.under_way(once, no_claim):
                entered.append(True)
                assert gate.wait(GUARD_SECONDS)

        asking, _ = in_thread(request)
        until(lambda: entered)
        ending, ended = in_thread(requests.finish)
        assert not ended
        gate.set()
        for thread in (ending, asking):
            thread.join(GUARD_SECONDS)
        assert ended == [None]

    def test_it_gives_up(self, once, requests, stepping, in_thread):
        """A request that hangs is waited for as long as it may take, and five seconds more."""
        gate, entered = threading.Event(), []

        def request():
            with requests.under_way(once, no_claim):
                entered.append(True)
                assert gate.wait(GUARD_SECONDS)

        asking, _ = in_thread(request)
        until(lambda: entered)
        before = stepping.monotonic()
        requests.finish()
        assert stepping.monotonic() - before == 35
        gate.set()
        asking.join(GUARD_SECONDS)

    def test_not_if_it_is_lost_anyway(self, once, stepping):
        """In the memory of the process alone, a new refresh token is lost with the process."""
        requests, released = OneTimeRequests(Unpublished(), stepping, outlives=False), []
        with requests.under_way(once, lambda: released.append(True)):
            before = stepping.monotonic()
            requests.finish()
        assert stepping.monotonic() == before
        assert released == [True]

    def test_not_for_its_own_thread(self, once, requests, stepping):
        """The thread that makes a request does not wait for it."""
        before = stepping.monotonic()
        with requests.under_way(once, no_claim):
            requests.finish()
        assert stepping.monotonic() == before

    def test_the_store_comes_back(self, stepping):
        """Tokens that could not be stored are stored before the end."""
        unpublished = Unpublished(attempts=4)
        before = stepping.monotonic()
        OneTimeRequests(unpublished, stepping).finish()
        assert unpublished.attempts == 0
        assert stepping.monotonic() - before == 3 * one_time.RETRY_SECONDS

    def test_the_store_stays_away(self, stepping):
        """A store that can't be used delays the end by five seconds."""
        before = stepping.monotonic()
        OneTimeRequests(Unpublished(attempts=1000), stepping).finish()
        assert stepping.monotonic() - before == one_time.PUBLISH_SECONDS

    def test_no_request_begins_afterwards(self, once, requests):
        """After the end began, a request that works once is refused; others go on."""
        requests.finish()
        with pytest.raises(TokenAcquisitionError, match="is ending") as raised:
            requests.under_way(once, no_claim).__enter__()
        assert raised.value.transient
        once.repeatable = True
        with requests.under_way(once, no_claim):
            pass

    def test_a_forked_child_waits_for_nothing(self, once, requests, stepping):
        """A request of the parent is not waited for in a child, which may make its own."""
        under_way = requests.under_way(once, no_claim)
        under_way.__enter__()
        requests.end()
        requests.after_fork_in_child()
        with requests.under_way(once, no_claim):
            before = stepping.monotonic()
            requests.finish()
            assert stepping.monotonic() == before
        under_way.__exit__(None, None, None)

    def test_all_keepers_at_exit(self, once, requests, stepping, monkeypatch):
        """The end of the interpreter waits for the requests of all keepers."""
        other = OneTimeRequests(Unpublished(), stepping)
        monkeypatch.setattr(one_time, "_all", [requests, other])
        finish_all()
        for each in (requests, other):
            with pytest.raises(TokenAcquisitionError):
                each.under_way(once, no_claim).__enter__()

    def test_ctrl_c_ends_the_wait_at_exit(self, requests, monkeypatch):
        """Ctrl-C during the wait at the end of the interpreter ends it without a traceback."""
        calls = []

        def interrupted():
            calls.append(True)
            raise KeyboardInterrupt

        monkeypatch.setattr(requests, "finish", interrupted)
        monkeypatch.setattr(one_time, "_all", [requests])
        finish_all()
        assert calls == [True]


@pytest.fixture
def memory():
    """Return a store that two keepers may share."""
    return MemoryTokenStore()


@pytest.fixture
def shared(memory, once):
    """Return a keeper with a store, and the source."""
    keeper = TokenKeeper(store=memory)
    keeper.add_provider(once)
    yield keeper
    once.gate.set()
    keeper.close()


@pytest.fixture
def once_now(once):
    """Return the source on the system's clock."""
    once.clock = SYSTEM_CLOCK
    return once


def test_close_waits_for_the_publish(memory, shared, once_now, in_thread):
    """``close()`` returns after the token of a request under way is stored."""
    once_now.gate.clear()
    asking, answers = in_thread(shared.get_token, "api")
    assert once_now.entered.acquire(timeout=GUARD_SECONDS)
    closing, _ = in_thread(shared.close)
    until(lambda: shared.is_closed)
    assert once_now.closed == 0
    once_now.gate.set()
    closing.join(GUARD_SECONDS)
    (key,) = memory.keys()
    assert memory.read(key).generation == 1
    assert once_now.closed == 1
    asking.join(GUARD_SECONDS)
    assert isinstance(answers[0], KeeperClosedError)


def test_a_late_request_is_refused(memory, shared, once_now):
    """A request that comes too late is not made, and leaves no claim."""
    internals.one_time(shared).end()
    with pytest.raises(TokenAcquisitionError, match="is ending"):
        shared.get_token("api", timeout=0.2)
    assert once_now.requests == 0
    assert not any(record.is_claimed for record in map(memory.read, memory.keys()))


def test_a_fork_of_a_keeper(memory, shared, once_now):
    """A forked child of a keeper that was closing may make requests."""
    internals.one_time(shared).end()
    internals.after_fork_in_child(shared)
    assert shared.get_token("api") == "api-1"


def test_an_interrupted_close_closes_providers(shared, once_now, monkeypatch):
    """An exception during the wait, such as Ctrl-C, leaves no provider open."""

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(internals.one_time(shared), "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shared.close()
    assert once_now.closed == 1
    monkeypatch.undo()


class TestRepeatable:
    """A request that can be repeated is given up at the end."""

    def test_its_claim_is_released(self, source, requests):
        """The end releases its claim once, and waits for nothing."""
        released = []
        with requests.under_way(source, lambda: released.append(True)):
            requests.finish()
            requests.finish()
            assert released == [True]

    def test_after_its_answer(self, source, requests):
        """A request that was answered has nothing to release."""
        with requests.under_way(source, no_claim):
            pass
        requests.finish()

    def test_in_a_forked_child(self, source, requests):
        """A child leaves the claims of its parent alone."""
        with requests.under_way(source, no_claim):
            requests.after_fork_in_child()
            requests.finish()
