"""How the outcome of a renewal reaches callers, hooks and the log."""

import logging

import pytest
from kit import internals

from tokenkeeper import OAuth2Token, TokenAcquisitionError, TokenRejectedError
from tokenkeeper.events import RenewalFailed
from tokenkeeper.testing import EventRecorder

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)


def test_a_first_request_that_fails(keeper, source):
    """Without a token to renew, the error is not one of a renewal."""
    source.error = WRONG_SECRET
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api")
    assert type(caught.value) is TokenAcquisitionError


@pytest.mark.parametrize("fails", [True, False])
def test_log_lines_of_a_worker(keeper, source, fails, caplog):
    """A worker writes its log lines itself, and needs no other thread for them."""
    caplog.set_level(logging.INFO, "tokenkeeper.events")
    source.error = WRONG_SECRET if fails else None
    flight = internals.ask(keeper, internals.need(keeper))
    assert flight.wait(10)
    keeper.close()
    (record,) = caplog.records
    assert record.threadName == "tokenkeeper-worker"


def test_a_kept_token_that_is_granted_again(keeper, source, clock, reject):
    """A server that insists on a rejected token is asked twice the first time, then once."""
    recorder = EventRecorder()
    keeper.add_hook(recorder)
    token = reject()
    grant = source.acquire_token
    source.acquire_token = lambda: OAuth2Token(token, "Bearer", grant().expires_at)
    requests = []
    for _ in range(3):
        clock.step(internals.rejection_pause(keeper))
        before = source.requests
        with pytest.raises(TokenRejectedError):
            keeper.renew_refused("api", token)
        requests.append(source.requests - before)
    assert requests == [2, 1, 1]
    keeper.close()
    failed = [each for each in recorder.events if isinstance(each, RenewalFailed)]
    assert [each.remaining_seconds for each in failed] == [3600.0, 3600.0, 3600.0]
