"""Records that a process can't read: replaced where that is safe, and left alone where not."""

import pytest
from kit import internals
from kit.stores import renew_when_due

from tokenkeeper import RetryPolicy, TokenAcquisitionError
from tokenkeeper.events import RecordReplaced
from tokenkeeper.stores.sealed import KeyRing

OLD = KeyRing({"old": b"o" * 32}, names_key=b"names")
NEW = KeyRing({"new": b"n" * 32}, names_key=b"names")


def replaced(keeper):
    """Return the reasons for which records were replaced."""
    return [e.reason for e in keeper.events.events if isinstance(e, RecordReplaced)]


@pytest.fixture(params=["another key", "garbage", "a newer version", "not a token"])
def spoil(request, store):
    """Return a function that makes the only record unreadable."""
    texts = {
        "another key": OLD.seal(b"{}", "x", "token"),
        "garbage": b"\x00garbage",
        "a newer version": b'0.token.{"v":99}',
        "not a token": b'0.token.{"v":1,"name":7}',
    }

    def spoil():
        store.entry.sealed = texts[request.param]

    return spoil


def test_is_replaced(fleet, clock, store, server, spoil):
    """Where the grant can be repeated, it is replaced, and an event says why."""
    fleet.keeper().get_token("api")
    spoil()
    keeper = fleet.keeper()
    assert keeper.get_token("api") == "token-2"
    assert len(replaced(keeper)) == 1
    assert fleet.keeper().get_token("api") == "token-2"


def test_is_left_alone(family, clock, store, strict, spoil):
    """Where it works once, nothing is overwritten, and the error names the remedy."""
    family.keeper().get_token("api")
    spoil()
    before = store.snapshot()
    keeper = family.keeper()
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api")
    assert "its record in the store can't be read" in str(caught.value)
    assert "tokenkeeper store purge" in str(caught.value)
    assert not caught.value.transient
    assert store.snapshot() == before
    assert strict.requests == 1


def test_a_valid_token_is_served_meanwhile(family, clock, store, strict, spoil):
    """A process that has a valid token serves it as long as it lives."""
    keeper = family.keeper()
    keeper.get_token("api")
    spoil()
    renew_when_due(keeper, clock)
    assert keeper.get_token("api") == "token-1"
    assert keeper.health()["providers"]["api"]["status"] == "degraded"
    assert strict.requests == 1


@pytest.mark.parametrize("has_token", [True, False], ids=["known here", "unknown here"])
def test_is_not_cleared(family, store, strict, spoil, has_token):
    """clear_token forgets what is in memory, and leaves what may be the only refresh token."""
    keeper = family.keeper()
    keeper.get_token("api")
    spoil()
    before = store.snapshot()
    clearing = keeper if has_token else family.keeper()
    clearing.clear_token("api")
    assert internals.cached(clearing) is None
    assert store.snapshot() == before


def test_older_and_unreadable(family, clock, store, strict, spoil):
    """An unreadable record is not overwritten from memory either."""
    keeper = family.keeper(retry=RetryPolicy(attempts=1))
    keeper.get_token("api")
    spoil()
    store.entry.generation = 0
    before = store.snapshot()
    renew_when_due(keeper, clock)
    assert store.snapshot() == before


def test_older_and_unreadable_but_repeatable(fleet, clock, store, server, spoil):
    """Where the grant can be repeated it is overwritten from memory, with the same event."""
    keeper = fleet.keeper()
    keeper.get_token("api")
    spoil()
    store.entry.generation = 0
    clock.step(1)
    assert keeper.get_token("api", force_refresh=True) == "token-2"
    assert len(replaced(keeper)) == 1


def test_another_process_is_faster(fleet, clock, store, server, spoil):
    """A process that finds it replaced already does not report that it replaced it."""
    keeper, other = fleet.several(2)
    keeper.get_token("api")
    spoil()
    store.entry.generation = 0
    clock.step(1)
    store.before["publish"] = lambda: other.get_token("api")
    keeper.get_token("api", force_refresh=True)
    assert (len(replaced(keeper)), len(replaced(other))) == (0, 1)


def test_key_that_is_missing(fleet, store, server):
    """The event says which key the process lacks."""
    fleet.keeper(sealer=OLD).get_token("api")
    keeper = fleet.keeper(sealer=NEW)
    assert keeper.get_token("api") == "token-2"
    assert replaced(keeper) == ["it is sealed with the key 'old', which the key file does not have"]
