"""What the operations do, compared with the store in memory, and when many use them at once."""

import random
import threading
from dataclasses import replace
from functools import partial

import pytest
from kit.crowds import Crowd, crowd
from kit.guards import until
from kit.servers.store_postgres import as_superuser, running_pgbouncer, sessions, store_url

from tokenkeeper.stores import Claim, Record
from tokenkeeper.testing.stores import MemoryTokenStore

pytest.importorskip("psycopg", reason="the store in PostgreSQL needs psycopg")

from tokenkeeper.stores import postgresql

pytestmark = pytest.mark.slow

KEYS = ["a", "b"]
OWNERS = ["one", "two"]


def publish(store, key="a", **changes):
    """Publish the first token of a key, unless *changes* say otherwise."""
    given = {
        "owner": "one",
        "replaces": 0,
        "generation": 1,
        "sealed": b"token",
        "lifetime_seconds": 3600.0,
        "age_seconds": 0.0,
        "keep": False,
    }
    return store.publish(key, **{**given, **changes})


def claim(store, key="a", **changes):
    """Claim the first token of a key, unless *changes* say otherwise."""
    given = {"owner": "one", "generation": 0, "older_than_seconds": 60.0, "intent": "refresh"}
    return store.claim(key, **{**given, **changes})


@pytest.fixture(params=["direct", "pooled"])
def any_store(request, server, table, open_store):
    """Return a store, connected directly and through PgBouncer with transaction pooling."""
    if request.param == "direct":
        return open_store(store_url(server, table))
    port = request.getfixturevalue("bouncer").port
    return open_store(store_url(server, table).replace(f":{server.port}/", f":{port}/"))


def random_step(random_number):
    """Return the name, arguments and parameters of an operation that may or may not succeed."""
    choice = random_number.choice
    key, owner, generation = choice(KEYS), choice(OWNERS), random_number.randrange(4)
    failure = choice([None, b"why"])
    return choice(
        [
            ("read", key, {}),
            ("forget", key, {"entirely": random_number.random() < 0.2}),
            ("fail", key, {"owner": owner, "fence": random_number.randrange(6), "sealed": failure}),
            (
                "claim",
                key,
                {
                    "owner": owner,
                    "generation": generation,
                    "older_than_seconds": choice([0, 0.0, 60.0, float("inf")]),
                    "intent": choice(["", "spend \u00fc'\\"]),
                },
            ),
            (
                "publish",
                key,
                {
                    "owner": owner,
                    "replaces": generation,
                    "generation": generation + choice([1, 2]),
                    "sealed": choice([b"", b"\0\xff'\\", random_number.randbytes(5000)]),
                    "lifetime_seconds": choice([0, 3600.0, 1e9]),
                    "age_seconds": choice([0, 1e3, float("inf")]),
                    "keep": choice([True, False]),
                },
            ),
        ]
    )


def without_ages(result):
    """Return *result* with its ages rounded, because two stores can't be asked at once."""
    if isinstance(result, Claim):
        return replace(result, record=without_ages(result.record))
    if not isinstance(result, Record):
        return result
    failure = result.failure and replace(result.failure, age_seconds=0.0)
    return replace(
        result,
        age_seconds=rounded(result.age_seconds),
        claim_age_seconds=rounded(result.claim_age_seconds),
        failure=failure,
    )


def rounded(age):
    assert age >= 0
    return age if age == float("inf") else age // 500


def test_it_does_what_the_store_in_memory_does(any_store):
    """Four hundred random operations have the same results as in memory."""
    seed = random.randrange(2**32)
    random_number, memory = random.Random(seed), MemoryTokenStore()
    for number in range(400):
        name, key, parameters = random_step(random_number)
        expected = without_ages(getattr(memory, name)(key, **parameters))
        found = without_ages(getattr(any_store, name)(key, **parameters))
        assert found == expected, f"step {number} of seed {seed}: {name} {key} {parameters}"
        assert without_ages(any_store.read(key)) == without_ages(memory.read(key)), f"{seed}"
    assert sorted(any_store.keys()) == sorted(memory.keys())


def test_statement_pooling(server, table, open_store):
    """It works where each statement may meet another server process."""
    with running_pgbouncer(server, mode="statement") as bouncer:
        url = store_url(server, table).replace(f":{server.port}/", f":{bouncer.port}/")
        store = open_store(url)
        results = crowd(16, lambda: claim(store, owner="same").granted).join()
        assert results == [True] * 16
        assert store.read("a").fence == 16


def store_threads():
    return [each for each in threading.enumerate() if each.name == "tokenkeeper-store"]


def test_one_of_many_claims_is_granted(any_store):
    """Of 32 threads that claim at once, one is granted the claim, and all see who holds it."""
    for generation in range(5):
        jobs = [
            partial(claim, any_store, owner=f"owner {number}", generation=generation)
            for number in range(32)
        ]
        answers = Crowd(*jobs).join()
        granted = [each for each in answers if each.granted]
        assert len(granted) == 1, answers
        assert {each.record.owner for each in answers} == {granted[0].record.owner}
        assert publish(
            any_store,
            owner=granted[0].record.owner,
            replaces=generation,
            generation=generation + 1,
        )


def test_one_of_many_takes_over(any_store):
    """Of 32 threads that take over an old claim at once, each takes it from the one before."""
    claim(any_store, owner="first")
    jobs = [
        partial(claim, any_store, owner=f"owner {number}", older_than_seconds=0.0)
        for number in range(32)
    ]
    answers = Crowd(*jobs).join()
    assert sorted(each.record.fence for each in answers) == list(range(2, 34))
    by_fence = sorted(answers, key=lambda each: each.record.fence)
    owners = ["first", *(each.record.owner for each in by_fence)]
    assert [each.taken_from for each in by_fence] == owners[:-1]


def test_one_of_many_publishes(any_store):
    """Of 32 threads that replace the same generation at once, one does."""
    for replaces in range(5):
        job = partial(publish, any_store, replaces=replaces, generation=replaces + 1)
        stored = crowd(32, job).join()
        assert stored.count(True) == 1, stored


def test_the_table_is_created_once(server, table, open_store):
    """Processes that meet a missing table at once all get on with it."""
    for number in range(3):
        stores = [open_store(store_url(server, f"{table}_{number}")) for _ in range(8)]
        answers = Crowd(*[partial(claim, store, owner="same") for store in stores]).join()
        assert [each.granted for each in answers] == [True] * 8
        for store in stores:
            store.close()


def test_a_process_has_few_connections(server, table, store):
    """Threads take turns on four connections, and one thread uses one."""
    store.read("a")
    first = sessions(server, table)
    store.read("a")
    assert sessions(server, table) == first
    assert len(first) == 1
    crowd(32, lambda: store.read("a")).join()
    assert len(sessions(server, table)) <= 4


def test_idle_connections_are_closed(server, table, store, monkeypatch):
    """A connection that is not used for a while is closed, and another one opened on demand."""
    monkeypatch.setattr("tokenkeeper.stores._postgresql_connections.IDLE_SECONDS", 0.1)
    assert claim(store).granted
    until(lambda: not sessions(server, table), "no session")
    until(lambda: not store_threads(), "no thread")
    assert claim(store).granted


def test_expired_records_are_deleted(server, table, store, monkeypatch):
    """A publish now and then deletes what expired long ago, but nothing that must be kept."""
    for key, keep in {"old": False, "kept": True, "claimed": False, "recent": False}.items():
        publish(store, key, keep=keep)
    claim(store, "claimed", generation=1)
    as_superuser(
        server, f"UPDATE {table} SET expires_at = expires_at - 10000 WHERE key <> 'recent'"
    )
    publish(store, "new")
    monkeypatch.setattr(postgresql, "_is_time_to_clean_up", lambda: True)
    publish(store, "newer")
    assert sorted(store.keys()) == ["claimed", "kept", "new", "newer", "recent"]


def test_a_clock_that_was_set_back(server, table, store):
    """A token or a failure from the future has an unknown age, and a claim begins again."""
    publish(store, age_seconds=100.0)
    assert store.fail("a", owner="one", fence=claim(store, generation=1).record.fence, sealed=b"no")
    assert claim(store, generation=1).granted
    as_superuser(
        server,
        f"UPDATE {table} SET sent_at = sent_at + 3600, failed_at = failed_at + 3600,"
        " claimed_at = claimed_at + 3600",
    )
    record = store.read("a")
    assert record.age_seconds == record.failure.age_seconds == float("inf")
    assert record.claim_age_seconds == 0.0
    assert not claim(store, owner="two", generation=1, older_than_seconds=1.0).granted
    [(ahead,)] = as_superuser(
        server, f"SELECT claimed_at - extract(epoch FROM clock_timestamp()) FROM {table}"
    )
    assert ahead <= 0


@pytest.mark.parametrize("moment", ["NaN", "Infinity", "-Infinity"])
def test_a_moment_that_is_none(server, table, store, moment):
    """A token and a failure of a moment that is not a number have an unknown age."""
    publish(store)
    fence = claim(store, generation=1).record.fence
    store.fail("a", owner="one", fence=fence, sealed=b"why")
    as_superuser(server, f"UPDATE {table} SET sent_at = '{moment}', failed_at = '{moment}'")
    record = store.read("a")
    assert (record.age_seconds, record.failure.age_seconds) == (float("inf"), float("inf"))


def test_a_small_correction_of_the_clock_is_no_step(server, table, store):
    """A token that appears to be from half a second ahead is new."""
    publish(store)
    as_superuser(
        server,
        f"UPDATE {table} SET sent_at = extract(epoch FROM clock_timestamp()) + 0.9",
    )
    assert store.read("a").age_seconds < float("inf")


def test_settings_of_the_session_do_not_matter(server, table, open_store):
    """Bytes and texts survive settings that change how PostgreSQL writes values."""
    store = open_store(
        store_url(server, table, options="-cbytea_output%3Descape%20-cDateStyle%3DSQL")
    )
    publish(store, sealed=b"\xff\0'")
    claim(store, generation=1, intent="\u20ac")
    record = store.read("a")
    assert (record.intent, record.sealed) == ("\u20ac", b"\xff\0'")


def test_the_longest_timeout(server, table, open_store):
    """A timeout of weeks works, although the system counts its milliseconds in 32 bits."""
    store = open_store(store_url(server, table), timeout_seconds=3e6)
    assert publish(store)
    assert store.read("a").sealed == b"token"
