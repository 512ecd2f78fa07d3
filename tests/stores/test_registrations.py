"""How the clients that were registered are kept in a store."""

import pytest
from kit.stored import StoredFleet

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.oauth.registration import ClientRegistration
from tokenkeeper.stores.overview import overview
from tokenkeeper.stores.registrations import Registrations
from tokenkeeper.stores.sealed import KeyRing, Plain
from tokenkeeper.testing import SteppedClock

ISSUER = "https://as.test"
SECRET = "a-secret-that-nobody-sees"
ONE = ClientRegistration(ISSUER, "c1", SECRET, "client_secret_post", ("http://127.0.0.1:1/c",), "a")
OTHER = ClientRegistration(ISSUER, "c2")


@pytest.fixture
def fleet():
    return StoredFleet(sealer=KeyRing({"k1": bytes(32)}), clock=SteppedClock())


@pytest.fixture
def registrations(fleet):
    return Registrations(fleet.settings, fleet.clock)


def test_kept(registrations, fleet):
    """A registration is found again, by another process as well, for its server only."""
    assert registrations.find("api", ISSUER) is None
    assert registrations.keep("api", ONE) is ONE
    again = Registrations(fleet.settings, fleet.clock)
    assert again.find("api", ISSUER) == ONE
    assert again.find("api", "https://other.test") is None
    assert again.find("other", ISSUER) is None


def test_sealed(registrations, fleet):
    """The secret is not in the store as plain text, nor in what people are shown."""
    registrations.keep("api", ONE)
    (record,) = fleet.records().values()
    assert SECRET.encode() not in record.sealed
    (view,) = overview(fleet.settings, fleet.clock).records
    assert view.provider_name == "api (registered client)"
    assert view.state == "fresh"
    assert not view.unreadable
    assert SECRET not in repr(view)


def test_two_processes_at_once(registrations):
    """The first registration stays, and the second process uses it."""
    registrations.keep("api", ONE)
    assert registrations.keep("api", OTHER) == ONE


def test_replaced(registrations):
    """A registration that is of no use any more is replaced, but not one that is newer."""
    registrations.keep("api", ONE)
    assert registrations.keep("api", OTHER, ONE) is OTHER
    assert registrations.find("api", ISSUER) == OTHER
    third = ClientRegistration(ISSUER, "c3")
    assert registrations.keep("api", third, ONE) == OTHER


def test_a_record_that_changes_meanwhile(registrations, fleet, monkeypatch):
    """If another process stores something in between, the record is read again."""
    publish = fleet.store.publish
    refusals = [False]

    def published(*arguments, **options):
        return refusals.pop() if refusals else publish(*arguments, **options)

    monkeypatch.setattr(fleet.store, "publish", published)
    assert registrations.keep("api", ONE) is ONE
    assert refusals == []
    assert registrations.find("api", ISSUER) == ONE


@pytest.mark.parametrize("sealed", [b"garbage", None], ids=["garbage", "a token"])
def test_something_else(registrations, fleet, sealed):
    """A record that can't be read, or is not a registration, is replaced."""
    registrations.keep("api", ONE)
    (key,) = fleet.records()
    if sealed is None:
        other = StoredFleet(store=fleet.store, sealer=fleet.sealer, clock=fleet.clock)
        stored = fleet.store.read(other.token("api")).sealed
        sealed = fleet.sealer.seal(
            fleet.sealer.open(stored, other.key("api"), "token"), key, "token"
        )
    fleet.sealed(key, sealed)
    assert registrations.find("api", ISSUER) is None
    assert registrations.keep("api", OTHER) is OTHER


@pytest.fixture
def with_keys(fleet):
    """Return a function that returns the registrations of a process with the keys it is given."""
    keys = {"k1": bytes(32), "k2": bytes([2]) * 32}
    names_key = fleet.sealer.names_key

    def made(*kids):
        sealer = KeyRing({kid: keys[kid] for kid in kids}, names_key) if kids else Plain()
        if not kids:
            sealer.record_key = fleet.sealer.record_key
        fleet.sealer = sealer
        return Registrations(fleet.settings, fleet.clock)

    return made


def test_a_rotation(with_keys, fleet):
    """A registration is sealed with the new key as it is read, so the old key can be dropped."""
    with_keys("k1").keep("api", ONE)
    assert with_keys("k1", "k2").find("api", ISSUER) == ONE
    (before,) = fleet.records().values()
    assert with_keys("k2", "k1").find("api", ISSUER) == ONE
    (after,) = fleet.records().values()
    assert (before.generation, after.generation) == (1, 2)
    dropped = with_keys("k2")
    assert dropped.find("api", ISSUER) == ONE
    assert dropped.keep("api", OTHER) == ONE
    assert list(fleet.records().values()) == [after]


@pytest.mark.parametrize("kids", [["k2"], []], ids=["another key", "no key"])
def test_a_missing_key(with_keys, fleet, kids):
    """A registration whose key is missing is not replaced: refresh tokens would be lost with it."""
    with_keys("k1").keep("api", ONE)
    before = fleet.records()
    without = with_keys(*kids)
    for operation in (lambda: without.find("api", ISSUER), lambda: without.keep("api", OTHER)):
        with pytest.raises(StoreUnavailableError, match=r"'k1'.*Restore the key") as caught:
            operation()
        assert caught.value.is_misconfigured
        assert str(caught.value).isprintable()
        assert next(iter(before))[:12] in str(caught.value)
    assert fleet.records() == before
    assert with_keys("k2", "k1").find("api", ISSUER) == ONE


def test_a_store_that_takes_no_rotation(with_keys, fleet, monkeypatch):
    """A registration that can be read is used, even if it can't be sealed again."""
    with_keys("k1").keep("api", ONE)

    def refused(*_, **__):
        raise StoreUnavailableError("it is full")

    monkeypatch.setattr(fleet.store, "publish", refused)
    assert with_keys("k2", "k1").find("api", ISSUER) == ONE


def test_a_secret_that_expires(registrations, fleet):
    """The record of a client whose secret expires is shown to expire with it."""
    expires = ClientRegistration(
        ISSUER, "c1", SECRET, "client_secret_post", secret_expires_at=fleet.clock.time() + 60
    )
    registrations.keep("api", expires)
    (record,) = fleet.records().values()
    assert record.lifetime_seconds == 60
