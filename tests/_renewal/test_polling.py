"""Polling: when each poll is made, by whom, and how waits end."""

import os
import signal
import threading

import anyio
import anyio.to_thread
import pytest
from kit.crowds import at_once
from kit.guards import GUARD_SECONDS, until
from kit.processes import Child

from tokenkeeper import AuthorizationRequiredError, KeeperClosedError, TokenAcquisitionError
from tokenkeeper._renewal.polling import Polling
from tokenkeeper._runtime.open_waits import OpenWaits
from tokenkeeper.exceptions import InvalidConfigurationError, TokenWaitTimeoutError
from tokenkeeper.oauth.pending_answers import next_interval
from tokenkeeper.testing import SteppedClock

PENDING = TokenAcquisitionError("pending", error="authorization_pending", status_code=400)
SLOW_DOWN = TokenAcquisitionError("slower", error="slow_down", status_code=400)
DENIED = TokenAcquisitionError("denied", error="access_denied", status_code=400)
LOST = TokenAcquisitionError("lost", network_reason="timeout", transient=True)
REFUSED = TokenAcquisitionError("no", error="invalid_client", status_code=401)
BUSY = TokenAcquisitionError("busy", status_code=503, retry_after=45.0)
TOO_LATE = TokenAcquisitionError("busy", status_code=503, retry_after=4000.0)


class Story:
    """A sign-in whose polls are answered as scripted, on a clock that waits step.

    :ivar polls: when each poll was made, in seconds after the beginning.
    :ivar failures: the final errors that were reported.
    """

    def __init__(
        self, *script, interval=5.0, lifetime=600.0, clock=None, next_interval=next_interval
    ):
        self.clock = clock or SteppedClock(auto_step=True)
        self.began = self.clock.monotonic()
        self.script = [*script]
        self.polls = []
        self.took = 0.0  # each poll, in seconds
        self.failures = []
        self.open_waits = OpenWaits()
        self.polling = Polling(
            "tv",
            interval_seconds=interval,
            expires_at=self.clock.time() + lifetime,
            next_interval=next_interval,
            failed=self.failures.append,
            open_waits=self.open_waits,
            clock=self.clock,
        )

    @property
    def now(self):
        """The seconds since the beginning."""
        return self.clock.monotonic() - self.began

    def poll(self):
        self.polls.append(self.now)
        self.clock.step(self.took)
        answer = self.script.pop(0) if self.script else "token"
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def wait(self, timeout=None):
        return self.polling.wait(self.poll, timeout)


STORIES = {
    "approved at once": ([], [5]),
    "pending": ([PENDING, PENDING], [5, 10, 15]),
    "slow down": ([SLOW_DOWN, PENDING, SLOW_DOWN, PENDING], [5, 15, 25, 40, 55]),
    "lost": ([LOST, LOST, PENDING], [5, 15, 35, 40]),
    "retry after": ([BUSY, PENDING], [5, 50, 55]),
    "lost after slow down": ([SLOW_DOWN, LOST, PENDING], [5, 15, 35, 45]),
}


@pytest.mark.parametrize(("script", "polls"), STORIES.values(), ids=STORIES)
def test_when_polls_are_made(script, polls):
    """The first poll follows after one interval, and each answer says when the next one does."""
    story = Story(*script)
    assert story.wait() == "token"
    assert story.polls == polls


@pytest.mark.parametrize("interval", [0.0, -5.0, 0.001], ids=["zero", "negative", "tiny"])
def test_a_grant_of_ones_own_without_an_interval(interval):
    """A server is not asked more than once a second, whatever the grant returns."""
    story = Story(
        PENDING,
        PENDING,
        LOST,
        interval=interval,
        next_interval=lambda error, _: interval if error is PENDING else None,
    )
    assert story.wait() == "token"
    assert story.polls == [1, 2, 3, 5]


def test_the_interval_counts_from_the_answer():
    """A poll that takes long does not shorten the pause after it."""
    story = Story(PENDING)
    story.took = 20.0
    story.wait()
    assert story.polls == [5, 30]


def test_a_wait_that_begins_late():
    """A caller that waits after the interval polls at once, and once."""
    story = Story(PENDING)
    story.clock.step(100)
    story.wait()
    assert story.polls == [100, 105]


def test_the_result_is_kept():
    """After the token came, every further wait returns it without a request."""
    story = Story()
    assert not story.polling.is_over
    assert [story.wait(), story.wait(0)] == ["token", "token"]
    assert story.polling.is_over
    assert story.polls == [5]


ENDINGS = {
    "denied": (DENIED, AuthorizationRequiredError),
    "refused": (REFUSED, TokenAcquisitionError),
    "configuration": (InvalidConfigurationError("hint"), InvalidConfigurationError),
}


@pytest.mark.parametrize(("error", "kind"), ENDINGS.values(), ids=ENDINGS)
def test_final_errors(error, kind):
    """A final error ends the polls; each waiter gets it, as an object of its own."""
    story = Story(PENDING, error)
    caught = []
    for _ in range(2):
        with pytest.raises(kind) as raised:
            story.wait()
        caught.append(raised.value)
    assert str(caught[0]) == str(caught[1])
    assert caught[0] is not caught[1]
    assert story.polls == [5, 10]
    assert [str(each) for each in story.failures] == [str(caught[0])]


LIFETIMES = {
    "never approved": ([PENDING] * 9, 30.0, [5, 10, 15, 20, 25], 25, "expires before"),
    "a long retry-after": ([TOO_LATE], 600.0, [5], 5, "expires before"),
    "shorter than the interval": ([], 3.0, [], 0, "expires before"),
    "expired already": ([], -1.0, [], 0, "has expired"),
}


@pytest.mark.parametrize(
    ("script", "lifetime", "polls", "ended", "why"), LIFETIMES.values(), ids=LIFETIMES
)
def test_expiry(script, lifetime, polls, ended, why):
    """No poll is made once the code has expired, and no time is lost before the error."""
    story = Story(*script, lifetime=lifetime)
    with pytest.raises(AuthorizationRequiredError, match=why) as caught:
        story.wait()
    assert (story.polls, story.now) == (polls, ended)
    assert caught.value.error == "expired_token"
    assert not caught.value.transient
    assert "Begin again with authorize()" in str(caught.value)
    assert len(story.failures) == 1


def test_the_wall_clock_does_not_matter():
    """Setting the wall clock makes a code neither expire nor live on."""
    story = Story(*[PENDING] * 4, lifetime=22.0)
    story.clock.step_wall(100_000)
    with pytest.raises(TokenWaitTimeoutError):
        story.wait(6)
    story.clock.step_wall(-200_000)
    with pytest.raises(AuthorizationRequiredError):
        story.wait()
    assert story.polls == [5, 10, 15, 20]


def test_a_poll_that_ends_after_the_expiry():
    """The answer to a poll that was under way at the expiry still counts."""
    story = Story(lifetime=10.0)
    story.took = 20.0
    assert story.wait() == "token"


def test_timeouts():
    """A timeout ends one wait and nothing else: the next one goes on where it was."""
    story = Story(PENDING, PENDING)
    with pytest.raises(TokenWaitTimeoutError, match=r"Call wait\(\) again") as caught:
        story.wait(7)
    assert caught.value.transient
    assert (story.now, story.polls) == (7, [5])
    with pytest.raises(TokenWaitTimeoutError):
        story.wait(0)
    assert story.now == 7
    assert story.wait(100) == "token"
    assert story.polls == [5, 10, 15]


def test_no_timeout_left_but_a_poll_due():
    """A wait of no time makes a poll that is due."""
    story = Story()
    story.clock.step(5)
    assert story.wait(0) == "token"


def struck(number, frame):
    raise TimeoutError("out of time")


INTERRUPTIONS = {"^C": KeyboardInterrupt(), "a bug": ValueError("odd")}


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs SIGALRM")
def test_a_time_limit_of_the_host():
    """What a signal handler raises reaches the caller, even if it looks like a lost connection."""
    story = Story()
    before = signal.signal(signal.SIGALRM, struck)
    try:
        with pytest.raises(TimeoutError, match="out of time"):
            story.polling.wait(lambda: signal.raise_signal(signal.SIGALRM))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert story.wait() == "token"


def test_a_function_of_the_users_that_fails():
    """A connection that breaks in the user's own function is like any that is lost."""
    story = Story(ConnectionResetError("of a function"), PENDING)
    assert story.wait() == "token"
    assert story.polls == [5, 15, 20]


@pytest.mark.parametrize("error", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_interrupted_polls(error):
    """An exception from elsewhere reaches its caller, and a later wait polls again, not sooner."""
    story = Story(error)
    with pytest.raises(type(error)):
        story.wait()
    assert story.wait() == "token"
    assert story.polls == [5, 10]


def test_a_token_that_an_interruption_lost():
    """If a code is used up after a poll was interrupted, the error says that the token is lost."""
    used = TokenAcquisitionError("used", error="invalid_grant", status_code=400)
    story = Story(KeyboardInterrupt(), used)
    with pytest.raises(KeyboardInterrupt):
        story.wait()
    with pytest.raises(AuthorizationRequiredError, match="it is lost"):
        story.wait()


def test_closed_before():
    """A sign-in that was closed polls no more."""
    story = Story()
    story.polling.fail(KeeperClosedError("closed"))
    story.polling.fail(KeeperClosedError("closed twice"))
    with pytest.raises(KeeperClosedError, match=r"closed$"):
        story.wait()
    assert story.polls == []


CLOSINGS = {
    "the sign-in": lambda story: story.polling.fail(KeeperClosedError("closed")),
    "the keeper": lambda story: story.open_waits.end(),
}


@pytest.mark.parametrize("close", CLOSINGS.values(), ids=CLOSINGS)
def test_closed_during_a_wait(close):
    """Closing ends the waits of all threads, and is not a failure of the sign-in."""
    story = Story(clock=SteppedClock())

    def waits():
        with pytest.raises(KeeperClosedError, match="closed"):
            story.wait()
        return True

    def closes():
        until(lambda: story.clock.waiting == 2, "two waits")
        close(story)
        return True

    assert at_once(waits, waits, closes) == [True] * 3
    assert (story.polls, story.failures) == ([], [])
    waits()  # later waits as well


def test_a_keeper_that_is_closed():
    """Once the keeper is closed, no wait begins."""
    story = Story()
    story.open_waits.end()
    with pytest.raises(KeeperClosedError, match="the keeper was closed"):
        story.wait()
    assert story.polls == []


def test_expiry_is_reported_once():
    """Threads that find at once that the code has expired report it once."""
    story = Story(lifetime=1.0)
    story.polling._give_up(DENIED)
    with pytest.raises(TokenAcquisitionError, match="denied"):
        story.wait()
    story.polling._give_up(DENIED)
    assert story.failures == [DENIED]


def test_two_threads():
    """Threads that wait for one sign-in make one poll at a time, and all get the token."""
    story = Story(PENDING, PENDING, clock=SteppedClock())
    active, most = [], []

    def poll():
        active.append(1)
        most.append(len(active))
        try:
            return story.poll()
        finally:
            active.pop()

    def steps():
        until(lambda: story.clock.waiting == 4, "four waits")
        for _ in range(3):
            until(lambda: story.polling._next_at > story.clock.monotonic(), "a planned poll")
            story.clock.step(5)
        return True

    waits = [lambda: story.polling.wait(poll)] * 4
    assert at_once(*waits, steps) == ["token"] * 4 + [True]
    assert story.polls == [5, 10, 15]
    assert set(most) == {1}


def test_a_poll_of_another_thread():
    """While one thread's poll is under way, another one waits for it and makes none."""
    story = Story(clock=SteppedClock())
    story.clock.step(5)
    began, answered = threading.Event(), threading.Event()

    def poll():
        began.set()
        assert answered.wait(GUARD_SECONDS)
        return story.poll()

    def second():
        assert began.wait(GUARD_SECONDS)
        with pytest.raises(TokenWaitTimeoutError):
            story.polling.wait(poll, 0)
        story.polling._poll_if_due(poll)  # as a thread that looked a moment before
        answered.set()
        return story.polling.wait(poll)

    assert at_once(lambda: story.polling.wait(poll), second) == ["token"] * 2
    assert story.polls == [5]


def test_another_process(monkeypatch):
    """In a process that is not the one that began, a wait raises, and closing does nothing."""
    story = Story()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 0)
        story.polling.fail(KeeperClosedError("closed elsewhere"))
        with pytest.raises(TokenAcquisitionError, match="forked from it") as caught:
            story.wait()
    assert not caught.value.transient
    assert story.wait() == "token"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child():
    """A child of a fork makes no poll, and closing there changes nothing here."""
    story = Story(PENDING)
    with pytest.raises(TokenWaitTimeoutError):
        story.wait(6)

    def child():
        story.polling.fail(KeeperClosedError("closed in the child"))
        with pytest.raises(TokenAcquisitionError, match="forked from it"):
            story.wait()
        return len(story.polls)

    assert Child(child).result() == 1
    assert story.wait() == "token"


async def off_loop(call):
    await anyio.to_thread.run_sync(call)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks(backend):
    """Tasks and threads share the polls of a sign-in, and all get the token."""
    story = Story(interval=1.0)
    got = []

    async def wait():
        got.append(await story.polling.wait_async(story.poll, off_loop, 60))

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            group.start_soon(wait)
        await wait()

    story.clock.step(1)
    anyio.run(main, backend=backend)
    assert got == ["token"] * 3
    assert story.polls == [1]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_that_give_up(backend):
    """A task's timeout and its cancellation end its wait, and the polls go on for others."""
    story = Story(clock=SteppedClock())

    async def main():
        with pytest.raises(TokenWaitTimeoutError):
            await story.polling.wait_async(story.poll, off_loop, 0)
        async with anyio.create_task_group() as group:
            group.start_soon(story.polling.wait_async, story.poll, off_loop)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        story.clock.step(5)
        return await story.polling.wait_async(story.poll, off_loop)

    assert anyio.run(main, backend=backend) == "token"
    assert story.polls == [5]


def test_a_task_is_closed():
    """Closing ends the wait of a task."""
    story = Story(clock=SteppedClock())

    async def main():
        async def close():
            story.polling.fail(KeeperClosedError("closed"))

        async with anyio.create_task_group() as group:
            group.start_soon(close)
            with pytest.raises(KeeperClosedError):
                await story.polling.wait_async(story.poll, off_loop)

    anyio.run(main)
    assert story.polls == []
