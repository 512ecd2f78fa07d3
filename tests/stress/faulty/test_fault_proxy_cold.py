"""Faults of the wire while the first token is requested."""

import re
import time

import pytest
from kit.servers import fault_proxy as faults

from tokenkeeper import TokenAcquisitionError

BROKE_OFF = "the connection was interrupted"
TOO_LATE = "timed out"

MAY_PASS = {
    "reset at once": (faults.RESET_AT_ONCE, "interrupted|could not connect"),
    "close at once": (faults.CLOSE_AT_ONCE, BROKE_OFF),
    "stall at once": (faults.STALL_AT_ONCE, TOO_LATE),
    "reset before the answer": (faults.RESET_BEFORE, BROKE_OFF),
    "reset in the head": (faults.RESET_IN_HEAD, BROKE_OFF),
    "reset in the body": (faults.RESET_IN_BODY, BROKE_OFF),
    "close before the answer": (faults.CLOSE_BEFORE, BROKE_OFF),
    "truncate the head": (faults.TRUNCATE_HEAD, BROKE_OFF),
    "truncate the body": (faults.TRUNCATE_BODY, BROKE_OFF),
    "stall before the answer": (faults.STALL_BEFORE, TOO_LATE),
    "stall in the head": (faults.STALL_IN_HEAD, TOO_LATE),
    "stall in the body": (faults.STALL_IN_BODY, TOO_LATE),
    "drip": (faults.drip(0.02), TOO_LATE),
    "say more than comes": (faults.TOO_LONG, TOO_LATE),
    "corrupt the protocol": (faults.STATUS_LINE, BROKE_OFF),
    "corrupt the status": (faults.STATUS_CODE, BROKE_OFF),
    "corrupt a chunk's size": (faults.NO_CHUNK_SIZE, BROKE_OFF),
    "too long a chunk": (faults.CHUNK_TOO_LONG, TOO_LATE),
    "too short a chunk": (faults.CHUNK_TOO_SHORT, BROKE_OFF),
}
FINAL = {
    "truncate, without a length": (faults.TRUNCATE_WITHOUT_LENGTH, "not JSON"),
    "say less than comes": (faults.TOO_SHORT, "not JSON"),
    "corrupt JSON": (faults.JSON_BYTE, "has no access_token"),
    "corrupt JSON's brace": (faults.JSON_BRACE, "not JSON"),
    "corrupt the token": (faults.TOKEN_BYTE, "can't be sent in a header"),
}
HARMLESS = {
    "reset after the answer": faults.RESET_AFTER,
    "close after the answer": faults.CLOSE_AFTER,
    "chunked": faults.CHUNKED,
    "duplicate": faults.DUPLICATE,
    "go deaf": faults.GO_DEAF,
}


@pytest.mark.parametrize(("fault", "words"), MAY_PASS.values(), ids=MAY_PASS)
def test_one_fault(client, proxy, fault, words):
    """A single transient fault costs one retry, and the caller gets a valid token."""
    proxy.plan(fault)
    client.get()
    assert proxy.attempts == 2
    assert len(proxy.applied) == 1
    assert client.info["failures"] == 0


@pytest.mark.parametrize(("fault", "words"), MAY_PASS.values(), ids=MAY_PASS)
def test_a_fault_that_lasts(client, proxy, faulty, fault, words):
    """A lasting fault ends in a clear error, after the attempts of the policy."""
    proxy.always(fault)
    began = time.monotonic()
    with pytest.raises(TokenAcquisitionError) as caught:
        client.get()
    attempts = faulty.POLICY.attempts
    assert time.monotonic() - began < attempts * faulty.TOTAL_SECONDS + 20.0
    assert re.search(words, str(caught.value))
    faulty.assert_clear(caught.value, client)
    assert proxy.attempts == caught.value.attempts == attempts
    assert caught.value.transient
    proxy.clear()
    client.get(force_refresh=True)


@pytest.mark.parametrize(("fault", "words"), FINAL.values(), ids=FINAL)
def test_a_fault_that_no_retry_heals(client, proxy, faulty, fault, words):
    """A complete answer that is not a grant is refused immediately, and nothing of it is kept."""
    proxy.plan(fault)
    with pytest.raises(TokenAcquisitionError) as caught:
        client.get()
    assert words in str(caught.value)
    faulty.assert_clear(caught.value, client)
    assert not caught.value.transient
    assert proxy.attempts == caught.value.attempts == 1
    assert client.info is None
    with pytest.raises(TokenAcquisitionError):
        client.get()  # from the cooldown
    assert proxy.attempts == 1
    client.get(force_refresh=True)


@pytest.mark.parametrize("fault", HARMLESS.values(), ids=HARMLESS)
def test_a_fault_after_the_answer(client, proxy, fault):
    """Each renewal brings a new token, whatever follows the answers on the wire."""
    proxy.always(fault)
    tokens = [client.get(force_refresh=True) for _ in range(5)]
    assert len(set(tokens)) == 5


def test_a_duplicate_that_comes_late(client, proxy):
    """A second copy of an answer is never taken for the answer to the next request."""
    # On a reused connection HTTP can't recognize the copy. Only a new connection is safe.
    proxy.always(faults.DUPLICATE_LATER)
    tokens = [client.get(force_refresh=True) for _ in range(5)]
    assert len(set(tokens)) == 5
