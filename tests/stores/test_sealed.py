"""Sealing: what opens, what does not, and with which words; no key is ever shown."""

import os
import pickle
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.processes import exit_code_of

from tokenkeeper.stores.sealed import (
    KEY_BYTES,
    NONCE_BYTES,
    KeyRing,
    Plain,
    UnreadableError,
    derived_names_key,
)

OLD, NEW, THIRD = (bytes([number]) * KEY_BYTES for number in (1, 2, 3))
RING = KeyRing({"new": NEW, "old": OLD})
RECORD, OTHER = "a" * 64, "b" * 64

TEXTS = st.binary(max_size=300)
PURPOSES = st.sampled_from(["token", "failure"])
KINDS = [RING, Plain()]
SEALERS = st.sampled_from(KINDS)


@given(plaintext=TEXTS, record_key=st.text(max_size=80), purpose=PURPOSES, sealer=SEALERS)
def test_what_was_sealed_opens(plaintext, record_key, purpose, sealer):
    """Any bytes come back, for any record and purpose."""
    assert sealer.open(sealer.seal(plaintext, record_key, purpose), record_key, purpose) == (
        plaintext
    )


@given(plaintext=TEXTS, bit=st.integers(min_value=0), purpose=PURPOSES)
def test_a_flipped_bit_fails(plaintext, bit, purpose):
    """A text with any one bit changed does not open, and raises no other error."""
    sealed = bytearray(RING.seal(plaintext, RECORD, purpose))
    bit %= 8 * len(sealed)
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnreadableError):
        RING.open(bytes(sealed), RECORD, purpose)


@given(plaintext=TEXTS, length=st.integers(min_value=0), sealer=SEALERS)
def test_a_truncated_text_fails(plaintext, length, sealer):
    """The beginning of a sealed text does not open; that of a plain one lacks its end."""
    sealed = sealer.seal(plaintext, RECORD, "token")
    cut = sealed[: length % len(sealed)]
    try:
        opened = sealer.open(cut, RECORD, "token")
    except UnreadableError:
        return
    assert isinstance(sealer, Plain)
    assert plaintext.startswith(opened)
    assert opened != plaintext


@given(garbage=st.binary(max_size=100), sealer=SEALERS)
def test_garbage_fails(garbage, sealer):
    """Whatever is in a store, the only error is that it can't be read."""
    if isinstance(sealer, Plain) and garbage.startswith(b"0.token."):
        return
    with pytest.raises(UnreadableError) as raised:
        sealer.open(garbage, RECORD, "token")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


@given(plaintext=TEXTS, purpose=PURPOSES)
def test_swapped_texts_fail(plaintext, purpose):
    """A text opens neither under another record's key, nor for another purpose."""
    sealed = RING.seal(plaintext, RECORD, purpose)
    other = "failure" if purpose == "token" else "token"
    for record_key, asked in ((OTHER, purpose), (RECORD, other), ("", purpose)):
        with pytest.raises(UnreadableError, match="belongs to another record"):
            RING.open(sealed, record_key, asked)


def test_first_key_seals_and_all_open():
    """Keys are rotated without a request: texts of the old key open."""
    old = KeyRing({"old": OLD})
    assert RING.kids == ("new", "old")
    assert RING.open(old.seal(b"x", RECORD, "token"), RECORD, "token") == b"x"
    with pytest.raises(UnreadableError) as raised:
        old.open(RING.seal(b"x", RECORD, "token"), RECORD, "token")
    assert str(raised.value) == (
        "it is sealed with the key 'new', which the key file does not have"
    )
    assert raised.value.kid == "new"


@pytest.mark.parametrize("own", KINDS, ids=["a ring", "plain"])
@pytest.mark.parametrize("other", KINDS, ids=["by a ring", "by plain"])
def test_what_is_current(own, other):
    """What a sealer has just sealed is current, and what another kind of sealer did is not."""
    assert own.is_current(other.seal(b"text", "key", "token")) == (own is other)


def test_another_key_of_the_same_id_fails():
    """Two key files with the same id for different keys are found out, and explained."""
    sealed = KeyRing({"k": OLD}).seal(b"x", RECORD, "token")
    with pytest.raises(UnreadableError, match="sealed with another key of the same id") as raised:
        KeyRing({"k": NEW}).open(sealed, RECORD, "token")
    assert raised.value.kid is None


def test_same_text_is_sealed_differently_each_time():
    """Each text has a random nonce, so equal tokens don't look equal."""
    sealed = {RING.seal(b"x", RECORD, "token") for _ in range(100)}
    assert len({text[len(b"1.new.") :][:NONCE_BYTES] for text in sealed}) == 100


SEALED, UNSEALED = RING.seal(b"x", RECORD, "token"), Plain().seal(b"x", RECORD, "token")
CHANGED = (
    "it was changed, or belongs to another record, or was sealed with another key of the same id"
)
NOT_ENCRYPTED = (
    "it is not encrypted, but this process encrypts. Give all processes the same key file, or none"
)
FOREIGN = "it is not something that Tokenkeeper wrote"

UNREADABLE = {
    "empty": (b"", FOREIGN),
    "null bytes": (b"\0\0\0\0", FOREIGN),
    "JSON": (b'{"access_token": "x"}', FOREIGN),
    "pickle": (pickle.dumps(("a", 1.5)), FOREIGN),
    "Fernet": (b"gAAAAABh" + b"A" * 80, FOREIGN),
    "a newer format": (
        b"2.new." + b"x" * 40,
        "it has the format 2, which this version of Tokenkeeper does not know. Upgrade it",
    ),
    "a number": (b"2024", FOREIGN),
    "a decimal number": (b"3.14", FOREIGN),
    "a long number": (b"12345.new.x", FOREIGN),
    "version alone": (b"1", "it was cut short"),
    "no nonce": (b"1.new", "it was cut short"),
    "no content": (b"1.new.", CHANGED),
    "no id": (b"1..abc", FOREIGN),
    "a long id": (b"1." + b"k" * 33 + b".abc", FOREIGN),
    "an id with a line break": (b"1.a\nb.abc", FOREIGN),
    "an id that is not ASCII": ("1.ключ.abc".encode(), FOREIGN),
    "an unknown key": (
        b"1.other.abc",
        "it is sealed with the key 'other', which the key file does not have",
    ),
    "plain": (UNSEALED, NOT_ENCRYPTED),
}


@pytest.mark.parametrize(("sealed", "expected"), UNREADABLE.values(), ids=UNREADABLE)
def test_messages_of_a_ring(sealed, expected):
    """What can't be opened is explained in one sentence, with the remedy if there is one."""
    with pytest.raises(UnreadableError) as raised:
        RING.open(sealed, RECORD, "token")
    assert str(raised.value) == expected


PLAIN_UNREADABLE = {
    "sealed": (
        SEALED,
        "it is sealed with the key 'new', but this process has no keys. Set key_file",
        "new",
    ),
    "another purpose": (
        Plain().seal(b"x", RECORD, "failure"),
        "it was changed, or belongs to another record",
        None,
    ),
    "garbage": (b"garbage", FOREIGN, None),
    "cut short": (b"0.tok", "it was cut short", None),
}


@pytest.mark.parametrize(
    ("sealed", "expected", "kid"), PLAIN_UNREADABLE.values(), ids=PLAIN_UNREADABLE
)
def test_messages_without_keys(sealed, expected, kid):
    """Without keys, a sealed text is explained as well, and names the key that it needs."""
    with pytest.raises(UnreadableError) as raised:
        Plain().open(sealed, RECORD, "token")
    assert (str(raised.value), raised.value.kid) == (expected, kid)


def test_other_kinds_of_bytes_open():
    """Libraries of databases return bytes as ``memoryview`` or ``bytearray``."""
    assert RING.open(memoryview(SEALED), RECORD, "token") == b"x"
    assert Plain().open(bytearray(UNSEALED), RECORD, "token") == b"x"


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"a": b""},
        {"a": NEW[1:]},
        {"a": NEW, "b": OLD + b"x"},
        {"": NEW},
        {"a.b": NEW},
        {"é": NEW},
        {"a" * 33: NEW},
    ],
    ids=repr,
)
def test_unfit_keys_are_rejected(keys):
    """A ring has at least one key, all of one length, with ids that can be stored."""
    with pytest.raises(ValueError, match=r"32 (bytes|letters)") as raised:
        KeyRing(keys)
    assert NEW.hex() not in str(raised.value)


@given(identity=st.text(), other=st.text())
def test_names_of_records_are_stable_and_reveal_nothing(identity, other):
    """A record's key depends on the token's identity alone, and differs under other keys."""
    name = RING.record_key(identity)
    assert name == KeyRing({"third": THIRD, "old": OLD}).record_key(identity)
    assert (name == RING.record_key(other)) == (identity == other)
    assert name != Plain().record_key(identity)
    assert name != KeyRing({"new": NEW}).record_key(identity)
    assert len(name) == 64
    assert set(name) <= set("0123456789abcdef")


def test_identity_with_half_a_character_has_a_name():
    """A name that came from bytes that are not UTF-8 does not break anything."""
    assert RING.record_key("\ud800") != RING.record_key("\ud801")


def test_stated_names_key_is_used():
    """A key for names that is stated stays whatever keys are added or dropped."""
    names = derived_names_key(OLD)
    assert KeyRing({"third": THIRD}, names).record_key("x") == RING.record_key("x")


def test_no_key_is_shown():
    """Neither the ring nor an error shows a key."""
    assert repr(RING) == "KeyRing(new, old)"
    with pytest.raises(UnreadableError) as raised:
        RING.open(b"1.other.x", RECORD, "token")
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (str(copied), copied.kid) == (str(raised.value), "other")


def test_threads_share_a_ring():
    """Threads that use a new ring for the first time together all succeed."""
    ring = KeyRing({"new": NEW})
    barrier = threading.Barrier(8)
    opened = []

    def work(number):
        barrier.wait()
        for _ in range(50):
            text = str(number).encode()
            opened.append(ring.open(ring.seal(text, RECORD, "token"), RECORD, "token") == text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [True] * 400


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_child_uses_the_ring_of_its_parent(tmp_path):
    """A forked child opens what its parent sealed, and never repeats its nonces."""
    ring = KeyRing({"new": NEW})
    ours = ring.seal(b"x", RECORD, "token")
    theirs = tmp_path / "theirs"

    def child():
        theirs.write_bytes(ring.seal(ring.open(ours, RECORD, "token"), RECORD, "token"))
        return 0

    assert exit_code_of(child) == 0
    sealed = theirs.read_bytes()
    assert ring.open(sealed, RECORD, "token") == b"x"
    assert len({sealed[:18], ring.seal(b"x", RECORD, "token")[:18], ours[:18]}) == 3


@pytest.mark.slow
def test_cryptography_is_imported_when_it_is_needed():
    """A process whose store is private does not load the library for encryption."""
    program = (
        "import sys; from tokenkeeper.stores.sealed import KeyRing, Plain; "
        "Plain().seal(b'x', 'r', 'token'); KeyRing({'a': b'a' * 32}).record_key('x'); "
        "from tokenkeeper.stores import key_file, settings; "
        "sys.exit('cryptography' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
