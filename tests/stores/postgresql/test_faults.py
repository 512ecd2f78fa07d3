"""A server that hangs, restarts or drops connections, and forked children."""

import os
import signal
import threading
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from kit.awake import awake_seconds
from kit.crowds import crowd, in_thread
from kit.guards import until
from kit.processes import exit_code_of
from kit.servers.store_postgres import as_superuser, sessions, store_url

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.testing import StaticProvider

pytest.importorskip("psycopg", reason="the store in PostgreSQL needs psycopg")

import psycopg

from tokenkeeper.stores import _postgresql_connections

pytestmark = pytest.mark.slow

PUBLISHED = {
    "owner": "one",
    "replaces": 0,
    "generation": 1,
    "sealed": b"token",
    "lifetime_seconds": 3600.0,
    "age_seconds": 0.0,
    "keep": False,
}


@contextmanager
def stopped(*pids):
    """Stop processes in the block, as a hung machine would."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def locked(server, table):
    """Lock every row of a table in the block."""
    with psycopg.connect(store_url(server)) as connection:
        connection.execute(f"SELECT FROM {table} FOR UPDATE")
        yield


def internals_of(store):
    """Return the connections of a store."""
    return store._database._connections


def store_threads():
    return [each for each in threading.enumerate() if each.name == "tokenkeeper-store"]


@pytest.fixture
def used(store):
    """Return a store with a token in it and one idle connection, which gives up in 0.3 s."""
    assert store.publish("a", **PUBLISHED)
    store._database._timeout_seconds = 0.3
    return store


def reads(store):
    with suppress(StoreUnavailableError):
        return store.read("a").sealed == b"token"
    return False


def waits_for_a_lock(server, table):
    """Return the server processes of a store that wait for a lock."""
    found = (
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        f" AND application_name = '{table}'"
    )
    return [pid for (pid,) in as_superuser(server, found)]


def test_a_hung_session_is_left_in_time(server, table, used):
    """An operation gives up on a server process that hangs, and the next one works."""
    [pid] = sessions(server, table)
    with stopped(pid), awake_seconds() as taken:
        with pytest.raises(StoreUnavailableError, match=r"did not answer within 0\.3 s"):
            used.read("a")
        assert taken() < 5
        until(lambda: reads(used), "a connection to another server process")
    until(lambda: pid not in sessions(server, table), "the end of the hung session")


@pytest.mark.parametrize("can_cancel", [True, False])
def test_a_hung_server_is_left_in_time(server, table, used, can_cancel, monkeypatch):
    """While nothing answers, each operation gives up in time, with few threads and connections."""
    if not can_cancel:  # as with a libpq before version 17
        monkeypatch.setattr(_postgresql_connections, "can_cancel", lambda: False)
    postmaster, pids = server.process.pid, sessions(server, table)
    with stopped(postmaster, *pids):
        for _ in range(5):
            with awake_seconds() as taken, pytest.raises(StoreUnavailableError, match="within"):
                used.read("a")
            assert taken() < 5
        errors = crowd(32, partial(used.read, "a")).join()
        assert {type(each) for each in errors} == {StoreUnavailableError}
        assert len(store_threads()) <= 6
    until(lambda: reads(used), "an answer")
    used.close()
    until(lambda: not store_threads(), "the end of all threads")
    until(lambda: not sessions(server, table), "the end of all sessions")


@pytest.mark.skipif(not psycopg.capabilities.has_cancel_safe(), reason="libpq 17 cancels safely")
def test_a_statement_that_waits_for_a_lock_is_cancelled(server, table, used):
    """A claim that gave up is not performed later, and leaves no server process behind."""
    with locked(server, table):
        with pytest.raises(StoreUnavailableError, match="did not answer"):
            used.claim("a", owner="one", generation=1, older_than_seconds=1.0, intent="refresh")
        until(lambda: not waits_for_a_lock(server, table), "the end of the statement")
    used._database._timeout_seconds = 20.0
    assert used.read("a").fence == 0


def test_a_session_that_ended_while_idle(server, table, store, monkeypatch):
    """A connection that the server closed is replaced before it is used."""
    from tokenkeeper.stores import _postgresql_database as database

    store.read("a")
    [pid] = sessions(server, table)
    as_superuser(server, f"SELECT pg_terminate_backend({pid}, 10000)")
    sent, perform = [], database.perform
    monkeypatch.setattr(
        database, "perform", lambda *given: [sent.append(given), perform(*given)][1]
    )
    assert store.read("a").generation == 0
    assert len(sent) == 1


@pytest.mark.parametrize("name", ["publish", "fail", "claim"])
def test_a_session_that_ends_in_mid_operation(server, table, store, name):
    """An operation whose connection is lost is repeated, and has its usual result."""
    store.publish("a", **PUBLISHED)
    fence = store.claim(
        "a", owner="one", generation=1, older_than_seconds=1.0, intent="refresh"
    ).record.fence
    jobs = {
        "publish": partial(store.publish, "a", **{**PUBLISHED, "replaces": 1, "generation": 2}),
        "fail": partial(store.fail, "a", owner="one", fence=fence, sealed=b"why"),
        "claim": lambda: (
            store.claim("a", owner="one", generation=1, older_than_seconds=1.0, intent="").granted
        ),
    }
    with locked(server, table):
        thread, outcomes = in_thread(jobs[name])
        [pid] = until(lambda: waits_for_a_lock(server, table), "a statement that waits")
        as_superuser(server, f"SELECT pg_terminate_backend({pid}, 10000)")
        until(lambda: waits_for_a_lock(server, table), "the second attempt")
    thread.join()
    assert outcomes == [True]


def test_a_primary_that_was_demoted(store):
    """An idle connection to a server that became read-only is given up for a new one."""
    store.publish("a", **PUBLISHED)
    [session] = internals_of(store)._idle
    session.connection.execute("SET default_transaction_read_only = on")
    assert store.claim(
        "a", owner="one", generation=1, older_than_seconds=1.0, intent="refresh"
    ).granted


def test_connections_that_were_never_given_back(store, monkeypatch):
    """Operations that a signal interrupted anywhere don't use up the connections for ever."""
    connections = internals_of(store)
    lent = [connections.take(deadline=SYSTEM_CLOCK.monotonic() + 30.0) for _ in range(4)]
    monkeypatch.setattr(_postgresql_connections, "LOST_SECONDS", -1000.0)
    assert store.publish("a", **PUBLISHED)
    for session in lent:  # those that were only slow are closed when they are given back
        connections.give_back(session)
        assert session.connection.closed


def test_without_threads(store, monkeypatch):
    """While no thread can start, as at the exit of Python, the caller connects itself."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert store.publish("a", **PUBLISHED)
        store.close()
        assert store.read("a").sealed == b"token"
    store.close()


def test_a_long_text(used):
    """What does not fit into the socket's buffer is sent and received in parts."""
    sealed = os.urandom(8_000_000)
    until(lambda: stored(used, sealed), "eight megabytes")


def stored(store, sealed):
    """Publish *sealed* and return whether it is there; a busy machine may need another try."""
    with suppress(StoreUnavailableError):
        store.publish("a", **{**PUBLISHED, "replaces": 1, "generation": 2, "sealed": sealed})
        return store.read("a").sealed == sealed
    return False


def test_a_connection_that_is_lost_twice(store, monkeypatch):
    """A connection that is lost again at once is an error."""
    from tokenkeeper.stores import _postgresql_database as database
    from tokenkeeper.stores._postgresql_execution import LostError

    def lose(*arguments):
        raise LostError("server closed the connection unexpectedly")

    monkeypatch.setattr(database, "perform", lose)
    with pytest.raises(StoreUnavailableError, match=r"the connection to .* was lost") as caught:
        store.read("a")
    assert not caught.value.is_misconfigured
    [finding] = store.examine()
    assert "was lost" in finding.message


@pytest.mark.parametrize("name", ["publish", "fail"])
def test_a_lost_answer(store, monkeypatch, name):
    """An operation that was performed, but whose answer was lost, is recognized as performed."""
    from tokenkeeper.stores import _postgresql_database as database
    from tokenkeeper.stores._postgresql_execution import LostError

    fence = store.claim(
        "a", owner="one", generation=0, older_than_seconds=1.0, intent="refresh"
    ).record.fence
    perform, lost = database.perform, []

    def lose_first(*arguments):
        rows = perform(*arguments)
        if not lost:
            lost.append(rows)
            raise LostError("server closed the connection unexpectedly")
        return rows

    monkeypatch.setattr(database, "perform", lose_first)
    if name == "publish":
        assert store.publish("a", **PUBLISHED)
        assert not store.publish("a", **PUBLISHED)
    else:
        assert store.fail("a", owner="one", fence=fence, sealed=b"why")
        assert not store.fail("a", owner="one", fence=fence, sealed=b"why")
    assert lost == [[(True,)]]


def test_somebody_elses_token_is_not_taken_for_ours(store, monkeypatch):
    """After a lost connection, a token of the same generation from elsewhere is not ours."""
    from tokenkeeper.stores import _postgresql_database as database
    from tokenkeeper.stores._postgresql_execution import LostError

    perform = database.perform
    store.publish("a", **{**PUBLISHED, "sealed": b"from elsewhere"})

    def lose_first(*arguments):
        monkeypatch.setattr(database, "perform", perform)
        raise LostError("server closed the connection unexpectedly")

    monkeypatch.setattr(database, "perform", lose_first)
    assert not store.publish("a", **PUBLISHED)


def test_a_child_leaves_the_connections_of_its_parent_open(server, table, store):
    """A forked child works, closes its store and exits, and the parent's session goes on."""
    store.publish("a", **PUBLISHED)
    parent = sessions(server, table)

    def child():
        is_right = store.read("a").sealed == b"token"
        store.close()
        return 0 if is_right and store.read("a").sealed == b"token" else 1

    for _ in range(2):
        assert exit_code_of(child) == 0
    until(lambda: sessions(server, table) == parent, "the end of the children's sessions")
    assert store.read("a").sealed == b"token"
    assert sessions(server, table) == parent


def test_a_token_as_the_password(server, table):
    """A store connects with a token as its password, by a function that makes connections."""
    from tokenkeeper.integrations.psycopg import connection_class
    from tokenkeeper.stores.postgresql import PostgreSQLTokenStore

    as_superuser(server, "GRANT CREATE, USAGE ON SCHEMA public TO app")
    server.radius.accepts = lambda password: password == "a-token"
    with TokenKeeper() as keeper:
        keeper.add_provider(StaticProvider("database", "a-token"))
        connect = connection_class(keeper, "database").connect
        url = store_url(server, user="app")
        store = PostgreSQLTokenStore(
            connect=partial(connect, url, autocommit=True), table=table, timeout_seconds=20.0
        )
        assert store.publish("a", **PUBLISHED)
        assert store.read("a").sealed == b"token"
        store.close()
        server.radius.accepts = lambda password: False
        with pytest.raises(StoreUnavailableError, match="the password or the user is wrong"):
            store.read("a")


def test_connecting_takes_no_longer_than_an_operation(table):
    """A function that hangs is waited for in vain once, and what it returns later is used."""
    from tokenkeeper.stores.postgresql import PostgreSQLTokenStore

    gate = threading.Event()

    def connect():
        gate.wait(30)
        raise psycopg.OperationalError("it refused")

    store = PostgreSQLTokenStore(connect=connect, timeout_seconds=0.05)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match="did not answer within"):
            store.read("a")
    assert len(store_threads()) == 1
    gate.set()
    until(lambda: not store_threads(), "the end of the thread")
