"""What people may see of a store: states, ages, claims, failures, and never a secret."""

import json
import math
import os

import pytest
from kit.stored import ACCESS_TOKEN, ACCOUNT, REFRESH_TOKEN, StoredFleet, fill

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.base import Record, SharedFailure
from tokenkeeper.stores.overview import overview, record_view
from tokenkeeper.stores.sealed import KeyRing, Plain
from tokenkeeper.testing import SteppedClock

RING = KeyRing({"k1": bytes(32)})


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return SteppedClock()


@pytest.fixture(params=[Plain(), RING], ids=["plain", "sealed"])
def fleet(clock, request):
    """Return an empty store in memory, with and without encryption."""
    return StoredFleet(sealer=request.param, clock=clock)


def look(fleet, **options):
    return overview(fleet.settings, fleet.clock, **options)


def only(fleet):
    """Return the store's one record."""
    (record,) = look(fleet).records
    return record


@pytest.mark.parametrize(
    ("age", "state", "remaining"),
    [
        (0.0, "fresh", 3600),
        (3299.9, "fresh", 300.1),
        (3300.0, "renewing", 300),
        (3589.9, "renewing", 10.1),
        (3590.0, "expired", 10),
        (4000.0, "expired", -400),
    ],
)
def test_states(fleet, age, state, remaining):
    """A token of an hour is fresh up to its buffer, and expired from its margin on."""
    fleet.token("billing", age=age, granted_to="web-1:4711")
    record = only(fleet)
    assert (record.state, record.provider_name) == (state, "billing")
    assert record.age_seconds == pytest.approx(age)
    assert record.remaining_seconds == pytest.approx(remaining)
    assert record.lifetime_seconds == pytest.approx(3600)
    assert (record.generation, record.fence, record.granted_to) == (1, 1, "web-1:4711")
    assert record.claim is None
    assert record.failure is None
    assert record.size_bytes > 100


def test_a_buffer_can_be_chosen(fleet):
    """The buffer decides from when on a token counts as renewing."""
    fleet.token("billing", age=3300)
    assert look(fleet, buffer_seconds=60).records[0].state == "fresh"


def test_an_early_renewal_that_the_server_wants(fleet):
    """A token whose server wants it renewed early has an early renewal in its deadlines."""
    fleet.token("billing", refresh_after=600)
    assert only(fleet).deadlines.renew_at == pytest.approx(600)


@pytest.mark.parametrize(("age", "wall_age"), [(100, 3500), (3500, 100)])
def test_the_older_of_two_ages_counts(fleet, age, wall_age):
    """If the store's clock and the wall clocks disagree, the older age counts, and it is shown."""
    fleet.token("billing", age=age, wall_age=wall_age)
    record = only(fleet)
    assert record.age_seconds == pytest.approx(3500)
    assert record.clocks_differ_seconds == pytest.approx(wall_age - age)
    assert (record.clocks_differ, record.level) == (True, "warning")


def test_a_store_whose_clock_was_restarted(fleet):
    """A token of unknown age is expired, and its JSON has no infinity."""
    fleet.token("billing", age=math.inf, wall_age=5)
    record = only(fleet)
    assert (record.state, record.age_seconds, record.remaining_seconds) == ("expired", None, None)
    json.dumps(record.as_json(), allow_nan=False)


def test_a_claim(fleet, clock):
    """A claim shows its intent, a few characters of its owner, and its age."""
    fleet.claim(fleet.token("billing"), owner="0123456789abcdef", intent="web-1:1 is about to ask")
    clock.step(35)
    claim = only(fleet).claim
    assert (claim.owner, claim.intent, claim.age_seconds) == (
        "01234567…",
        "web-1:1 is about to ask",
        35,
    )
    assert not claim.is_old
    clock.step(1)
    assert only(fleet).claim.is_old
    assert only(fleet).level == "warning"


def test_a_failure(fleet, clock):
    """A failure shows its words, who reported it, how long ago, and how long it still stands."""
    fleet.token("billing", age=10)
    fleet.failure("billing", "the server says no", stands=30, failures=4, reported_by="web-9:1")
    clock.step(12)
    failure = only(fleet).failure
    assert failure.message == "the server says no"
    assert (failure.reported_by, failure.failures, failure.status_code) == ("web-9:1", 4, 503)
    assert (failure.age_seconds, failure.stands_seconds) == (12, 18)
    clock.step(60)
    assert only(fleet).failure.stands_seconds == 0


def test_a_failure_names_the_token_that_there_is_not(fleet):
    """A record without a token has the name that its failure has."""
    fleet.failure("billing", "no", tenant="contoso.example")
    record = only(fleet)
    assert (record.name, record.state) == ("billing tenant=contoso.example", "none")


@pytest.mark.parametrize(
    ("age", "fails", "level"),
    [
        (0, False, "ok"),
        (0, True, "warning"),
        (3400, False, "ok"),
        (3400, True, "problem"),
        (4000, False, "warning"),
        (4000, True, "problem"),
    ],
)
def test_levels(fleet, age, fails, level):
    """A failure is a warning while the token is fresh, and a problem from its buffer on."""
    fleet.token("billing", age=age)
    if fails:
        fleet.failure("billing", "no")
    assert only(fleet).level == level


def test_a_first_token_that_is_being_requested(fleet):
    """A record with a claim alone has no name and no problem."""
    fleet.claim(fleet.key("billing"))
    record = only(fleet)
    assert (record.state, record.level, record.provider_name) == ("none", "ok", None)
    assert record.name == f"record {fleet.key('billing')[:12]}"


def test_a_forgotten_token(fleet):
    """A record whose token was forgotten is listed without one."""
    key = fleet.token("billing")
    fleet.store.forget(key)
    record = only(fleet)
    assert (record.state, record.generation, record.lifetime_seconds) == ("none", 2, None)


def test_parameters_without_personal_data(fleet):
    """Scope, resource, audience and tenant are shown; account, subject and actor are not."""
    key = fleet.token(
        "billing",
        scope="write read",
        resource="https://api.example",
        audience=["a", "b"],
        tenant="contoso.example",
        account=ACCOUNT,
        subject="the-users-own-token",
        actor="the-actors-own-token",
    )
    assert dict(only(fleet).parameters) == {
        "account": f"…{key[:6]}",
        "actor": f"…{key[:6]}",
        "audience": "a b",
        "resource": "https://api.example",
        "scope": "read write",
        "subject": f"…{key[:6]}",
        "tenant": "contoso.example",
    }


def test_no_secret(fleet):
    """Neither values nor reprs contain a token or an account, not even within an error."""
    fill(fleet)
    fleet.token("echo", account=ACCOUNT)
    echo = f"user {ACCOUNT.upper()} sent {REFRESH_TOKEN} and {ACCESS_TOKEN[3:20]}"
    fleet.failure("echo", echo, account=ACCOUNT)
    found = look(fleet)
    text = repr(found) + json.dumps(found.as_json(), allow_nan=False)
    for secret in (ACCESS_TOKEN, REFRESH_TOKEN, ACCOUNT, "lovelace", "LOVELACE", "which-is-never"):
        assert secret not in text
    assert "user [hidden] sent [hidden] and [hidden]" in text


def test_order_and_totals(fleet):
    """Problems are first, then warnings, each by name; the totals count the states."""
    fill(fleet)
    found = look(fleet)
    ranks = [("problem", "warning", "ok").index(record.level) for record in found.records]
    assert ranks == sorted(ranks)
    names = [record.name for record in found.records if record.level == "ok"]
    assert names == sorted(names)
    totals = found.totals
    assert (totals.records, totals.shown) == (9, 9)
    assert (totals.fresh, totals.renewing, totals.expired, totals.without_token) == (4, 2, 1, 1)
    assert (totals.unreadable, totals.claims, totals.failures) == (1, 1, 2)
    assert totals.size_bytes == sum(record.size_bytes for record in found.records)


def test_a_limit(fleet):
    """At most so many records are read as the limit says, and the totals count all of them."""
    for number in range(20):
        fleet.token(f"provider-{number}")
    found = look(fleet, limit=7)
    assert (found.totals.records, found.totals.shown, len(found.records)) == (20, 7, 7)


def test_a_record_that_goes_while_it_is_listed(fleet):
    """A key without a record is left out."""
    fleet.token("billing")
    before = list(fleet.store.keys())
    fleet.store.keys = lambda: [*before, "f" * 64]
    found = look(fleet)
    assert (found.totals.records, len(found.records)) == (1, 1)


GARBAGE = {
    "nothing": b"",
    "text": b"hello",
    "a NUL": b"\x00",
    "cut short": b"1.k1",
    "another key": b"1.k7." + bytes(80),
    "a wrong tag": b"1.k1." + bytes(80),
    "no ciphertext": b"1.k1.",
    "a newer format": b"9.k1.abc",
    "a kid that is not ASCII": b"1.\xff\xfe." + bytes(80),
    "no JSON": b"0.token.{",
    "another JSON": b"0.token.[1]",
    "a newer version": b'0.token.{"v":2}',
    "no members": b'0.token.{"v":1}',
    "deep": b"0.token." + b"[" * 100_000,
    "odd members": b'0.token.{"v":1,"name":5,"requested_at":NaN,"granted_to":[],"access_token":5,'
    b'"token_type":"b","expires_at":Infinity}',
    "an odd extra": b'0.token.{"v":1,"name":"a","requested_at":1,"granted_to":"b",'
    b'"access_token":"c","token_type":"Bearer","expires_at":2000000000,"extra":7}',
    "a failure": b'0.failure.{"v":1}',
}


@pytest.mark.parametrize("sealed", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_listed_with_the_reason(fleet, sealed):
    """Whatever is in place of a token is listed, in one line, and does not hide other records."""
    fleet.sealed("some-key", sealed)
    fleet.token("billing")
    bad, good = look(fleet).records
    assert (bad.state, bad.level, bad.key) == ("unreadable", "problem", "some-key")
    assert bad.unreadable.startswith("the token can't be read: ")
    assert bad.unreadable.isprintable()
    assert bad.size_bytes == len(sealed)
    assert good.state == "fresh"
    assert look(fleet).totals.unreadable == 1


def test_random_bytes(clock):
    """Random bytes are unreadable, under each of the two formats and without one."""
    for before in (b"", b"0.token.", b"1.k1.", b'0.token.{"v":1,'):
        for _ in range(100):
            sealed = before + os.urandom(40)
            record = Record(generation=1, sealed=sealed, failure=SharedFailure(sealed, 1.0))
            for sealer in (Plain(), RING):
                view = record_view("key", record, sealer, clock.time())
                assert view.state == "unreadable"
                assert view.failure is None
                assert "; the failure can't be read: " in view.unreadable


@pytest.mark.parametrize("lifetime", [math.nan, math.inf, -math.inf, -1.0, 0.0, 1e300])
@pytest.mark.parametrize("age", [math.nan, math.inf, -5.0, 1e300])
def test_odd_numbers(fleet, lifetime, age):
    """Whatever numbers a store returns, the view has numbers that JSON can express."""
    key = fleet.token("billing")
    record = fleet.store.read(key)
    odd = Record(
        generation=record.generation,
        sealed=record.sealed,
        lifetime_seconds=lifetime,
        age_seconds=age,
        owner="somebody",
        claim_age_seconds=age,
    )
    view = record_view(key, odd, fleet.sealer, fleet.clock.time())
    json.dumps(view.as_json(), allow_nan=False)
    assert view.age_seconds is None or view.age_seconds >= 0
    if age != -5.0 or not lifetime > 0:
        assert view.state == "expired"


def test_names_that_would_command_a_terminal(fleet):
    """Control characters, line ends and marks that change the direction are escaped."""
    fleet.token("billing", granted_to="web\x1b[31m\u202e\n:1" + 500 * "x")
    shown = only(fleet).granted_to
    assert shown.startswith(r"web\x1b[31m\u202e\n:1xx")
    assert shown.isprintable()
    assert len(shown) < 250


def test_a_record_of_another_type(fleet):
    """One record that the store can't read is listed; the others are shown."""
    good, bad = fleet.token("billing"), fleet.token("crm")
    read = fleet.store.read

    def fail(key):
        if key == bad:
            raise StoreUnavailableError("the key has another type", is_misconfigured=True)
        return read(key)

    fleet.store.read = fail
    first, second = look(fleet).records
    assert (first.key, first.state) == (bad, "unreadable")
    assert first.unreadable == "the key has another type"
    assert second.key == good


def test_a_store_that_is_gone(fleet):
    """An unavailable store is an error, even if it fails in the middle."""
    fleet.token("billing")

    def fail(key):
        raise StoreUnavailableError("it is gone")

    fleet.store.read = fail
    with pytest.raises(StoreUnavailableError, match="it is gone"):
        look(fleet)


def test_looking_changes_nothing(fleet):
    """No record is different after it was looked at."""
    fill(fleet)
    before = fleet.records()
    look(fleet)
    assert fleet.records() == before
