"""Which failures are retried, and how long the waits are."""

import pickle
import sys
import threading
from itertools import pairwise

import pytest
import requests

from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Error,
    TokenAcquisitionError,
)
from tokenkeeper.retry import RetryPolicy, as_oauth2_error, call_with_retries, is_transient
from tokenkeeper.testing import SteppedClock


def refusal(**knows):
    return TokenAcquisitionError("no", **knows)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_statuses_that_may_pass(status):
    """These statuses are retried."""
    assert is_transient(refusal(status_code=status))


@pytest.mark.parametrize("status", [None, 200, 302, 400, 401, 403, 404, 422, 499, 600])
def test_statuses_that_are_final(status):
    """All other statuses are final."""
    assert not is_transient(refusal(status_code=status))


def test_the_error_has_the_last_word():
    """The code that raised the error may override its status."""
    assert not is_transient(refusal(status_code=503, transient=False))
    assert is_transient(refusal(transient=True))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (requests.ConnectionError(), True),
        (requests.ReadTimeout(), True),
        (requests.exceptions.InvalidURL(), False),
        (OSError(), False),
        (ValueError(), False),
        (OAuth2Error(), False),
    ],
)
def test_foreign_errors(error, passes):
    """A provider's own connection errors and timeouts are transient; all others are final."""
    assert is_transient(error) is passes


def test_foreign_errors_become_ours():
    """Another library's error is wrapped without its text, and is kept as the cause."""
    root = ValueError("password=hunter2")
    ours = as_oauth2_error(root, "api")
    assert isinstance(ours, TokenAcquisitionError)
    assert (ours.provider_name, ours.transient) == ("api", False)
    assert "ValueError" in str(ours)
    assert "hunter2" not in str(ours)
    assert ours.__cause__ is root
    assert as_oauth2_error(TimeoutError(), "api").transient is True


def test_our_errors_learn_their_provider():
    """An OAuth2Error passes unchanged; one without a provider's name gets it."""
    error = refusal()
    assert as_oauth2_error(error, "api") is error
    assert error.provider_name == "api"
    named = refusal(provider_name="other")
    assert as_oauth2_error(named, "api").provider_name == "other"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 0),
        ("attempts", -1),
        ("total_seconds", -1),
        ("max_wait_seconds", float("inf")),
        ("initial_wait_seconds", float("nan")),
        ("max_retry_after_seconds", -0.1),
    ],
)
def test_policy_refuses(field, value):
    """A policy with an invalid number is refused, and the error names the field."""
    with pytest.raises(InvalidConfigurationError, match=field) as caught:
        RetryPolicy(**{field: value})
    assert caught.value.field == field


def test_policy_is_a_value():
    """Policies are compared by value and are immutable."""
    assert RetryPolicy(attempts=2) == RetryPolicy(attempts=2)
    with pytest.raises(AttributeError):
        RetryPolicy().attempts = 3


def test_a_policy_can_be_pickled():
    """Spawned processes get an equal policy."""
    policy = RetryPolicy(attempts=2, total_seconds=5)
    assert pickle.loads(pickle.dumps(policy)) == policy


@pytest.mark.parametrize(
    ("attempts", "error", "jitter", "wait"),
    [
        (1, None, 1.0, 0.5),
        (1, refusal(status_code=503), 0.0, 0.0),
        (3, refusal(status_code=503), 0.5, 1.0),
        (9, ConnectionResetError(), 1.0, 10.0),
        (10**6, TimeoutError(), 1.0, 10.0),
        (1, refusal(status_code=429, retry_after=7), 0.0, 7.0),
        (1, refusal(status_code=429, retry_after=61), 1.0, 60.0),
    ],
)
def test_wait_while_a_caller_waits(attempts, error, jitter, wait):
    """The wait doubles up to its limit, is scaled by jitter, and yields to Retry-After."""
    assert RetryPolicy().wait_seconds(attempts, error, jitter) == wait


class Attempts:
    """A call with scripted failures, which records when it was made."""

    def __init__(self, clock, *outcomes):
        self.clock, self.outcomes, self.made_at = clock, list(outcomes), []

    def __call__(self):
        self.made_at.append(self.clock.monotonic())
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def run(attempts, policy=None, *, wanted_until=float("inf"), closing=None):
    return call_with_retries(
        attempts,
        policy or RetryPolicy(),
        clock=attempts.clock,
        closing=closing or threading.Event(),
        wanted_at=lambda moment: moment <= wanted_until,
    )


@pytest.fixture
def clock():
    return SteppedClock(auto_step=True)


def test_retries_until_it_works(clock):
    """Transient failures are retried until the call succeeds."""
    attempts = Attempts(clock, refusal(status_code=503), ConnectionResetError(), "token")
    assert run(attempts) == "token"
    assert len(attempts.made_at) == 3


def test_final_is_final(clock):
    """A refusal is raised immediately, with the number of attempts."""
    attempts = Attempts(clock, refusal(status_code=401), "never")
    with pytest.raises(TokenAcquisitionError) as caught:
        run(attempts)
    assert caught.value.attempts == 1
    assert len(attempts.made_at) == 1


def test_gives_up_after_so_many(clock):
    """After the policy's attempts the last error is raised, with their number."""
    attempts = Attempts(clock, *(refusal(status_code=500 + n) for n in range(9)))
    with pytest.raises(TokenAcquisitionError) as caught:
        run(attempts, RetryPolicy(attempts=3))
    assert (caught.value.status_code, caught.value.attempts) == (502, 3)


def test_waits_grow_with_full_jitter(clock):
    """Each wait is between zero and twice the last ceiling, and never above the maximum."""
    policy = RetryPolicy(attempts=6, initial_wait_seconds=1, max_wait_seconds=4, total_seconds=1e9)
    ceilings = [1, 2, 4, 4, 4]
    drawn = []
    for _ in range(50):
        attempts = Attempts(clock, *[refusal(status_code=503)] * 6)
        with pytest.raises(TokenAcquisitionError):
            run(attempts, policy)
        made = attempts.made_at
        drawn.append([after - before for before, after in pairwise(made)])
    for waits, ceiling in zip(zip(*drawn, strict=True), ceilings, strict=True):
        assert 0 <= min(waits) < ceiling / 3
        assert ceiling / 2 < max(waits) <= ceiling


@pytest.mark.parametrize(("asked", "waited"), [(7.5, 7.5), (1e9, 60.0)])
def test_retry_after_is_honoured_up_to_a_cap(clock, asked, waited):
    """A server's Retry-After replaces the policy's wait, up to the limit."""
    attempts = Attempts(clock, refusal(status_code=429, retry_after=asked), "token")
    assert run(attempts, RetryPolicy(total_seconds=100)) == "token"
    assert attempts.made_at[1] - attempts.made_at[0] == pytest.approx(waited)


@pytest.mark.parametrize("asked", [0, -1, None])
def test_retry_after_that_says_nothing(clock, asked):
    """Without a usable Retry-After the policy's wait counts."""
    attempts = Attempts(clock, refusal(status_code=429, retry_after=asked), "token")
    assert run(attempts) == "token"
    assert attempts.made_at[1] - attempts.made_at[0] <= RetryPolicy().initial_wait_seconds


def test_stops_before_the_policy_s_total(clock):
    """A retry that would begin after the total is not made."""
    attempts = Attempts(clock, refusal(status_code=429, retry_after=50), "late")
    began = clock.monotonic()
    with pytest.raises(TokenAcquisitionError):
        run(attempts, RetryPolicy(total_seconds=49))
    assert clock.monotonic() == began


def test_stops_before_the_caller_s_deadline(clock):
    """A retry that no caller would wait for is not made: the error is raised immediately."""
    attempts = Attempts(clock, refusal(status_code=429, retry_after=5), "late")
    with pytest.raises(TokenAcquisitionError):
        run(attempts, wanted_until=clock.monotonic() + 4.9)
    attempts = Attempts(clock, refusal(status_code=429, retry_after=5), "token")
    assert run(attempts, wanted_until=clock.monotonic() + 5.1) == "token"


def test_without_the_engine(clock, monkeypatch):
    """If tenacity can't be loaded, callers get the error of the first attempt."""
    monkeypatch.setitem(sys.modules, "tenacity", None)
    attempts = Attempts(clock, refusal(status_code=503), "late")
    with pytest.raises(TokenAcquisitionError) as caught:
        run(attempts)
    assert (caught.value.status_code, caught.value.attempts) == (503, 1)


def test_closing_ends_a_wait(clock):
    """A wait that ends because the keeper closes is followed by no attempt."""
    closing = threading.Event()
    clock.wait = lambda event, seconds: closing.set() or True
    attempts = Attempts(clock, refusal(status_code=503), "late")
    with pytest.raises(KeeperClosedError):
        run(attempts, closing=closing)
    assert len(attempts.made_at) == 1


def test_closing_ends_the_retries(clock):
    """Once the keeper closes, no retry is made."""
    closing = threading.Event()
    closing.set()
    attempts = Attempts(clock, refusal(status_code=503), "late")
    with pytest.raises(TokenAcquisitionError):
        run(attempts, closing=closing)
    assert len(attempts.made_at) == 1


class TestBackgroundWait:
    """How long the scheduler waits after failures."""

    def wait(self, failures, *, error=None, remaining=1e9, jitter=1.0):
        error = error or refusal(status_code=503)
        return RetryPolicy().background_wait(failures, error, remaining, jitter)

    def test_grows_to_a_ceiling(self):
        """Waits double up to a minute, and jitter reduces them by up to half."""
        assert [self.wait(n) for n in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
        assert self.wait(3, jitter=0.0) == 2.0
        assert self.wait(10**6) == 60

    def test_leaves_room_for_more_tries(self):
        """While a token is usable, its remaining lifetime allows several attempts."""
        assert self.wait(7, remaining=30) == 10
        assert self.wait(7, remaining=0.3) == 0.5

    def test_what_is_final_is_not_asked_again_soon(self):
        """A refusal is repeated in the background once a minute at most."""
        assert self.wait(0, error=refusal(status_code=401)) == 60

    def test_retry_after_is_honoured(self):
        """A server's Retry-After is respected."""
        assert self.wait(0, error=refusal(status_code=503, retry_after=20), remaining=5) == 20
