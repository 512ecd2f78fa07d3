"""Calls of a store with usual arguments, and what its errors must be like."""

import pytest

from kit.guards import PROGRAM_SECONDS, until
from tokenkeeper.exceptions import StoreUnavailableError

PASSWORD = "hush-hush"
"""A password that no message may contain."""

HASH = "tokenkeeper:{key}"
"""The name in Redis of the record ``key``."""


def claim(store, key="key", owner="first", generation=0):
    return store.claim(
        key, owner=owner, generation=generation, older_than_seconds=3600.0, intent="refresh"
    )


def publish(
    store,
    key="key",
    replaces=0,
    *,
    keep=False,
    lifetime_seconds=3600.0,
    age_seconds=0.0,
    sealed=b"token",
):
    return store.publish(
        key,
        owner="first",
        replaces=replaces,
        generation=replaces + 1,
        sealed=sealed,
        lifetime_seconds=lifetime_seconds,
        age_seconds=age_seconds,
        keep=keep,
    )


def failure_of(operation):
    """Return the error of *operation*, whose message is one line and contains no password."""
    with pytest.raises(StoreUnavailableError) as caught:
        operation()
    error = caught.value
    assert str(error).isprintable()
    assert PASSWORD not in str(error)
    # Trackers show what hangs off an error: the client's own has the password in its frames.
    assert error.__cause__ is None
    assert error.__context__ is None
    return error


def everything(store):
    """Call each operation, in ways that reach each command."""
    key = "of-everything"
    store.read(key)
    answer = claim(store, key)
    store.fail(key, owner="first", fence=answer.record.fence, sealed=b"why")
    assert publish(store, key)
    assert publish(store, key, 1, keep=True)
    store.forget(key)
    assert key in list(store.keys())
    store.forget(key, entirely=True)


def eventually(operation):
    """Wait until *operation* raises nothing, as after an outage or on a busy machine."""

    def works():
        try:
            operation()
        except StoreUnavailableError:
            return False
        return True

    until(works, "the store", limit=PROGRAM_SECONDS, pause=0.05)
