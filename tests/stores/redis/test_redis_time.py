"""How long the server keeps records, and what its clock does to ages."""

import math

import pytest
from kit.store_calls import HASH, claim, publish

from tokenkeeper.stores.base import NO_RECORD

pytestmark = pytest.mark.slow

HOUR, DAY, FOR_EVER = 3600, 86400, -1


def expires_in(valkey, about):
    """Return whether the record expires in *about* so many seconds; -1 means never."""
    left = valkey.run("TTL", HASH)
    return left == about or (about > 0 and about - 60 < left <= about)


def test_tokens_expire(valkey, store):
    """A record stays an hour beyond its token's lifetime, and at least an hour."""
    for number, lifetime in enumerate((3600.0, 0.0, 10 * 86400.0, 0.5)):
        publish(store, replaces=number, lifetime_seconds=lifetime)
        assert expires_in(valkey, math.ceil(lifetime) + HOUR), lifetime


@pytest.mark.parametrize("lifetime", [1e12, math.inf])
def test_endless_tokens(valkey, store, lifetime):
    """A token that lives for centuries or for ever is kept for ever."""
    publish(store, lifetime_seconds=lifetime)
    assert expires_in(valkey, FOR_EVER)
    assert store.read("key").lifetime_seconds == lifetime


def test_kept_records_do_not_expire(valkey, store):
    """A kept record has no expiry, whatever happens to it, until another token has one."""
    publish(store, keep=True)
    fence = claim(store, generation=1).record.fence
    assert expires_in(valkey, FOR_EVER)
    store.fail("key", owner="first", fence=fence, sealed=b"why")
    assert expires_in(valkey, FOR_EVER)
    store.forget("key")
    assert expires_in(valkey, FOR_EVER)
    publish(store, replaces=2)
    assert expires_in(valkey, 2 * HOUR)
    publish(store, replaces=3, keep=True)
    assert expires_in(valkey, FOR_EVER)


def test_records_without_a_token_expire(valkey, store):
    """A claim or a failure alone is kept for an hour, which each of them begins again."""
    fence = claim(store).record.fence
    assert expires_in(valkey, HOUR)
    valkey.run("EXPIRE", HASH, 100)
    store.fail("key", owner="first", fence=fence, sealed=b"why")
    assert expires_in(valkey, HOUR)
    valkey.run("EXPIRE", HASH, 100)
    claim(store)
    assert expires_in(valkey, HOUR)


def test_a_longer_expiry_stays(valkey, store):
    """Neither a claim nor a failure shortens the time that a token is kept."""
    publish(store, lifetime_seconds=10.0 * DAY)
    fence = claim(store, generation=1).record.fence
    assert expires_in(valkey, 10 * DAY + HOUR)
    store.fail("key", owner="first", fence=fence, sealed=b"why")
    assert expires_in(valkey, 10 * DAY + HOUR)


def test_what_was_forgotten_is_remembered(valkey, store):
    """That a token was forgotten is remembered for a day, or as long as it was kept."""
    publish(store)
    store.forget("key")
    assert expires_in(valkey, DAY)
    publish(store, replaces=2, lifetime_seconds=10.0 * DAY)
    store.forget("key")
    assert expires_in(valkey, 10 * DAY + HOUR)
    store.forget("key", entirely=True)
    assert store.read("key") == NO_RECORD


def shift(valkey, member, seconds):
    """Move a moment, as if the server's clock had been set back by *seconds*."""
    valkey.run("HINCRBY", HASH, member, round(seconds * 1_000_000))


def test_a_small_step_back(valkey, store):
    """After a small step back of the server's clock, ages begin at 0 and never are negative."""
    fence = claim(store).record.fence
    store.fail("key", owner="first", fence=fence, sealed=b"why")
    publish(store)
    claim(store, generation=1)
    for member in ("claimed_at", "sent_at"):
        shift(valkey, member, 30.0)
    record = store.read("key")
    assert (record.age_seconds, record.claim_age_seconds) == (0.0, 0.0)
    assert not claim(store, owner="second", generation=1).granted


def test_a_large_step_back(valkey, store):
    """After a large step back, ages are unknown: a claim is not stuck until the time has passed."""
    publish(store)
    fence = claim(store, generation=1).record.fence
    store.fail("key", owner="first", fence=fence, sealed=b"why")
    claim(store, generation=1)
    for member in ("claimed_at", "sent_at", "failed_at"):
        shift(valkey, member, 3600.0)
    record = store.read("key")
    assert record.age_seconds == record.claim_age_seconds == math.inf
    assert record.failure.age_seconds == math.inf
    taken = claim(store, owner="second", generation=1)
    assert (taken.granted, taken.taken_from) == (True, "first")


def test_an_unknown_age(store):
    """A token whose age is unknown is stored with an infinite age."""
    store.publish(
        "key",
        owner="first",
        replaces=0,
        generation=7,
        sealed=b"token",
        lifetime_seconds=60.0,
        age_seconds=math.inf,
        keep=False,
    )
    assert store.read("key").age_seconds == math.inf


def test_large_numbers(store):
    """Generations beyond what a number of Lua can express stay exact."""
    large = 2**62 + 1
    assert store.publish(
        "key",
        owner="first",
        replaces=0,
        generation=large,
        sealed=b"token",
        lifetime_seconds=60.0,
        age_seconds=0.0,
        keep=False,
    )
    assert not claim(store, generation=large - 1).granted
    assert claim(store, generation=large).granted
    store.forget("key")
    assert store.read("key").generation == large + 1
