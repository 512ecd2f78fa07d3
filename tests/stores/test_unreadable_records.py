"""Whatever is found in a store, callers get a valid token, and the record is replaced."""

import json
import logging

import pytest

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.events import RecordReplaced
from tokenkeeper.stores.key_file import (
    FileKeyRing,
    create_key_file,
    read_key_file,
    rotate_key_file,
)
from tokenkeeper.stores.sealed import KeyRing, Plain
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.testing import MockProvider
from tokenkeeper.testing.stores import MemoryTokenStore

KEYS = {"new": b"n" * 32, "old": b"o" * 32}
RING = KeyRing(KEYS)
SECRET = "very-secret-token"


class Process:
    """A process of the fleet: a keeper with a provider and the events that it reported."""

    def __init__(self, store, sealer, name="api"):
        self.events = []
        self.provider = MockProvider(name)
        self.keeper = TokenKeeper(
            store=StoreSettings(store, sealer), background=False, hooks=[self.events.append]
        )
        self.keeper.add_provider(self.provider)

    def ask(self):
        """Return the token, and how many requests the provider got in all."""
        return self.keeper.get_token(self.provider.provider_name), self.provider.calls

    @property
    def replaced(self):
        return [each.reason for each in self.events if isinstance(each, RecordReplaced)]


@pytest.fixture
def store():
    """Return a store that several keepers share."""
    return MemoryTokenStore()


def put(store, sealed, key=None):
    """Replace what is sealed under the only key of *store*, with a newer generation."""
    key = key or next(iter(store.keys()))
    generation = store.read(key).generation
    assert store.publish(
        key,
        owner="intruder",
        replaces=generation,
        generation=generation + 1,
        sealed=sealed,
        lifetime_seconds=3600.0,
        age_seconds=0.0,
        keep=False,
    )


def content_of(**members):
    """Return the content of a token with some members replaced."""
    return json.dumps(
        {
            "v": 1,
            "name": "api",
            "requested_at": 0.0,
            "granted_to": "host:1",
            "access_token": SECRET,
            "token_type": "Bearer",
            "expires_at": 4e9,
            **members,
        }
    ).encode()


def sealed_by(ring, content=None, purpose="token"):
    """Return a function that seals for a record's key."""
    return lambda key: ring.seal(content or content_of(), key, purpose)


CHANGED = (
    "it was changed, or belongs to another record, or was sealed with another key of the same id"
)
NOT_ENCRYPTED = (
    "it is not encrypted, but this process encrypts. Give all processes the same key file, or none"
)
FOREIGN = "it is not something that Tokenkeeper wrote"
NO_TOKEN = "it is not a token of this version of Tokenkeeper"
NEWER = "which this version of Tokenkeeper does not know. Upgrade it"

UNREADABLE = {
    "nothing": (lambda key: b"", FOREIGN),
    "garbage": (lambda key: b"\x00\xff" * 50, FOREIGN),
    "a bare token": (lambda key: SECRET.encode(), FOREIGN),
    "JSON": (lambda key: content_of(), FOREIGN),
    "truncated": (lambda key: sealed_by(RING)(key)[:30], CHANGED),
    "one byte more": (lambda key: sealed_by(RING)(key) + b"x", CHANGED),
    "forged": (sealed_by(KeyRing({"new": b"f" * 32})), CHANGED),
    "of another record": (lambda key: sealed_by(RING)("another"), CHANGED),
    "a failure": (sealed_by(RING, purpose="failure"), CHANGED),
    "an unknown key": (
        sealed_by(KeyRing({"lost": b"l" * 32})),
        "it is sealed with the key 'lost', which the key file does not have",
    ),
    "not encrypted": (sealed_by(Plain()), NOT_ENCRYPTED),
    "a newer format": (lambda key: b"2.new.abc", f"it has the format 2, {NEWER}"),
    "a newer version": (sealed_by(RING, content_of(v=2)), f"it has the version 2, {NEWER}"),
    "no version": (sealed_by(RING, b"{}"), FOREIGN),
    "not JSON": (sealed_by(RING, b"\xff"), FOREIGN),
    "a token that is a number": (sealed_by(RING, content_of(access_token=5)), NO_TOKEN),
    "a token with a line break": (sealed_by(RING, content_of(access_token="a\nb")), NO_TOKEN),
    "an expiry that is a text": (sealed_by(RING, content_of(expires_at="soon")), NO_TOKEN),
    "an endless expiry": (sealed_by(RING, content_of(expires_at=float("inf"))), NO_TOKEN),
    "a request at no time": (sealed_by(RING, content_of(requested_at=float("nan"))), NO_TOKEN),
    "a scope that is a list": (sealed_by(RING, content_of(scope=["a"])), NO_TOKEN),
    "members that are a list": (sealed_by(RING, content_of(extra=[1])), NO_TOKEN),
}


@pytest.mark.parametrize(("make", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_record_is_replaced(store, caplog, make, reason):
    """One request replaces it, the event says why, and the next process adopts the new token."""
    caplog.set_level(logging.DEBUG)
    Process(store, RING).ask()
    put(store, make(next(iter(store.keys()))))
    process = Process(store, RING)
    token, requests = process.ask()
    assert (token, requests) == ("api-token-1", 1)
    assert process.replaced == [reason]
    assert Process(store, RING).ask() == (token, 0)
    assert SECRET not in caplog.text + str(process.events)


def test_unreadable_refresh_token_is_never_overwritten(store):
    """Where a grant can't be repeated, callers get the reason, and the record is kept."""
    Process(store, RING).ask()
    key = next(iter(store.keys()))
    put(store, sealed_by(KeyRing({"lost": b"l" * 32}))(key))
    before = store.read(key).sealed
    process = Process(store, RING)
    process.provider.repeatable = False
    with pytest.raises(TokenAcquisitionError, match="'lost', which the key file does not have"):
        process.ask()
    assert process.provider.calls == 0
    assert store.read(key).sealed == before
    assert store.read(key).owner == ""


@pytest.mark.parametrize(
    "sealed", [b"", b"\xff" * 40, b"1.lost.abc", b"0.token.{}", b"1.new." + b"f" * 60], ids=repr
)
def test_unreadable_failure_is_ignored(store, sealed):
    """A failure that can't be read keeps no process from making its own request."""
    Process(store, RING).ask()
    key = next(iter(store.keys()))
    store.forget(key)
    record = store.read(key)
    claim = store.claim(
        key, owner="intruder", generation=record.generation, older_than_seconds=0, intent="x"
    )
    assert store.fail(key, owner="intruder", fence=claim.record.fence, sealed=sealed)
    assert Process(store, RING).ask() == ("api-token-1", 1)


def test_swapped_records_do_not_open(store):
    """The token of one client is never served to another, even if their records are swapped."""
    names = ("billing", "graph")
    for name in names:
        Process(store, RING, name).ask()
    keys = list(store.keys())
    sealed = [store.read(key).sealed for key in keys]
    for key, other in zip(keys, reversed(sealed), strict=True):
        put(store, other, key)
    for name in names:
        process = Process(store, RING, name)
        assert process.ask() == (f"{name}-token-1", 1)
        assert process.replaced == [CHANGED]


def test_no_token_is_readable_in_the_store(store):
    """With keys, neither the store nor the names in it contain a token or its name."""
    token, _ = Process(store, RING).ask()
    key = next(iter(store.keys()))
    assert token.encode() not in store.read(key).sealed
    assert "api" not in key


def test_rotation_in_the_right_order_costs_no_request(store, tmp_path):
    """While keys are rotated, every process adopts what any other one sealed."""
    path, behind = tmp_path / "keys", tmp_path / "behind"
    create_key_file(path)

    def renew_and_adopt(renewing, adopting):
        """Renew in one process, and return how many requests the other one makes."""
        process = Process(store, renewing)
        process.keeper.get_token("api", force_refresh=True)
        return Process(store, adopting).ask()[1]

    for drops in (False, False, True):
        behind.write_bytes(path.read_bytes())  # a host that has not got the file yet
        behind.chmod(0o600)
        rotate_key_file(path, drop_unused=drops)
        ahead, late = FileKeyRing(path), FileKeyRing(behind)
        assert renew_and_adopt(ahead, late) == 0
        assert renew_and_adopt(late, ahead) == 0
    assert len(list(store.keys())) == 1  # the names never changed


def test_rotation_in_the_wrong_order_costs_one_request(store, tmp_path):
    """A process that lacks the new key replaces the record, and goes on."""
    create_key_file(tmp_path / "keys")
    old = read_key_file(tmp_path / "keys")
    for _ in range(2):
        rotate_key_file(tmp_path / "keys")
    Process(store, read_key_file(tmp_path / "keys")).ask()
    process = Process(store, old)
    assert process.ask() == ("api-token-1", 1)
    assert "which the key file does not have" in process.replaced[0]
