"""The store in memory lets go of what expired long ago, and of nothing else."""

from tokenkeeper.stores.memory import MOST_UNSEEN, MemoryTokenStore
from tokenkeeper.testing import SteppedClock


def publish(store, key, *, keep=False):
    """Publish a token of an hour."""
    record = store.read(key)
    assert store.publish(
        key,
        owner="",
        replaces=record.generation,
        generation=record.generation + 1,
        sealed=b"sealed",
        lifetime_seconds=3600.0,
        age_seconds=0.0,
        keep=keep,
    )


def test_what_is_dropped():
    """A day after their expiry records go, if there are many; kept and claimed ones stay."""
    clock = SteppedClock()
    store = MemoryTokenStore(clock)
    publish(store, "kept", keep=True)
    publish(store, "claimed")
    store.claim("claimed", owner="me", generation=1, older_than_seconds=0.0, intent="to ask")
    publish(store, "forgotten")
    store.forget("forgotten")
    for number in range(MOST_UNSEEN):
        publish(store, f"sign-in {number}")
    clock.step(25 * 3600 - 1)
    publish(store, "young")
    assert len(store.keys()) == MOST_UNSEEN + 4
    clock.step(1)
    for number in range(MOST_UNSEEN + 10):
        publish(store, f"more {number}")
    assert "sign-in 0" not in list(store.keys())
    assert {"kept", "claimed", "forgotten", "young", "more 0"} <= set(store.keys())


def test_few_are_kept():
    """A fleet with few tokens loses no record."""
    clock = SteppedClock()
    store = MemoryTokenStore(clock)
    publish(store, "one")
    clock.step(30 * 86400)
    publish(store, "other")
    assert set(store.keys()) == {"one", "other"}
