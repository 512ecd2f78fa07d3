"""What a store says about a server that refuses it: the cause, the remedy, and no password."""

import re

import pytest
from kit.servers.raw import CLOSED_PORT
from kit.servers.store_postgres import (
    LOCKED_ROLE,
    PASSWORD,
    as_superuser,
    sessions,
    store_url,
)

from tokenkeeper.exceptions import StoreUnavailableError

psycopg = pytest.importorskip("psycopg", reason="the store in PostgreSQL needs psycopg")

pytestmark = pytest.mark.slow


def error_of(store):
    """Return the error of a read, which must be one line, and name neither password."""
    with pytest.raises(StoreUnavailableError) as caught:
        store.read("a")
    message = str(caught.value)
    assert message.isprintable()
    assert PASSWORD not in message
    assert "secret-guess" not in message
    assert caught.value.__cause__ is None
    return caught.value


def locked_url(server, table="", *, password=PASSWORD, **parameters):
    """Return the URL of a store for a user that has a password and no permissions."""
    return store_url(server, table, user=f"{LOCKED_ROLE}:{password}", **parameters)


def remedy(error, pattern):
    """Return the SQL that an error advises to run."""
    return re.search(pattern, str(error))[1]


def test_nothing_listens(open_store):
    """A port that nothing listens on asks for another host or port."""
    error = error_of(open_store(f"postgresql://fleet:secret-guess@127.0.0.1:{CLOSED_PORT}/fleet"))
    assert "refused" in str(error)
    assert "correct host and port" in str(error)
    assert not error.is_misconfigured


def test_a_wrong_password(server, open_store):
    """A wrong password is named as the cause, and not shown."""
    error = error_of(open_store(locked_url(server, password="secret-guess")))
    assert "the password or the user is wrong" in str(error)
    assert error.is_misconfigured


def test_an_unknown_user(server, open_store):
    """A user that pg_hba.conf does not know needs a rule, or TLS."""
    error = error_of(open_store(store_url(server, user="stranger")))
    assert "pg_hba.conf" in str(error)
    assert error.is_misconfigured


def test_an_unknown_database(server, open_store):
    """A database that does not exist must be created."""
    error = error_of(open_store(store_url(server, database="nothing")))
    assert "create the database" in str(error)
    assert error.is_misconfigured


def test_an_unknown_host(open_store):
    """A host without an address is a matter of DNS."""
    error = error_of(open_store("postgresql://fleet@nowhere.invalid/fleet"))
    assert "check DNS" in str(error)


def test_a_table_that_must_not_be_created(server, table, open_store):
    """A user that may not create the table is given the statements that create and open it."""
    store = open_store(locked_url(server, table))
    error = error_of(store)
    assert error.is_misconfigured
    as_superuser(server, remedy(error, "As an administrator, run: (.*)"))
    assert store.claim(
        "a", owner="one", generation=0, older_than_seconds=1.0, intent="refresh"
    ).granted
    assert store.forget("a", entirely=True) is False


def test_a_schema_that_does_not_exist(server, table, open_store):
    """The statements create the schema too."""
    store = open_store(locked_url(server, f"new_{table}.records"))
    error = error_of(store)
    assert error.is_misconfigured
    as_superuser(server, remedy(error, "As an administrator, run: (.*)"))
    assert store.read("a").generation == 0


def test_a_table_without_permission(server, table, store, open_store):
    """A user that may not use the table is given the GRANT that its owner runs."""
    store.read("a")
    other = open_store(locked_url(server, table))
    error = error_of(other)
    assert error.is_misconfigured
    as_superuser(server, remedy(error, "As the table's owner, run: (.*)"))
    assert other.read("a").generation == 0


@pytest.mark.parametrize(
    "definition",
    ["TABLE {} (id integer)", "TABLE {} (key text, generation text)", "VIEW {} AS SELECT 1 AS one"],
)
def test_another_table_of_the_same_name(server, table, store, definition):
    """A table that is not a store's is reported, and left alone."""
    as_superuser(server, f"CREATE {definition.format(table)}; GRANT ALL ON {table} TO fleet")
    before = as_superuser(server, f"SELECT * FROM {table}")
    for _ in range(2):
        error = error_of(store)
        assert "is not a table of Tokenkeeper" in str(error)
        assert error.is_misconfigured
    with pytest.raises(StoreUnavailableError, match="is not a table of Tokenkeeper"):
        store.claim("a", owner="one", generation=0, older_than_seconds=1.0, intent="refresh")
    assert as_superuser(server, f"SELECT * FROM {table}") == before


@pytest.mark.parametrize(("version", "advice"), [(2, "Upgrade"), (0, "has the old schema 0")])
def test_another_schema(server, table, store, version, advice):
    """A table of a newer or an older release is reported as that."""
    store.read("a")
    as_superuser(server, f"ALTER TABLE {table} RENAME schema_1 TO schema_{version}")
    error = error_of(store)
    assert advice in str(error)
    assert error.is_misconfigured


def test_too_many_connections(server, open_store):
    """A server that is full recommends a pooler."""
    as_superuser(server, f"ALTER ROLE {LOCKED_ROLE} CONNECTION LIMIT 0")
    try:
        error = error_of(open_store(locked_url(server)))
    finally:
        as_superuser(server, f"ALTER ROLE {LOCKED_ROLE} CONNECTION LIMIT -1")
    assert "Put PgBouncer in front of it" in str(error)
    assert not error.is_misconfigured


def test_a_read_only_server(server, table, store, open_store):
    """A server that can't write is probably a replica."""
    store.read("a")
    reader = open_store(store_url(server, table, options="-cdefault_transaction_read_only%3Don"))
    assert reader.read("a").generation == 0
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="target_session_attrs=read-write"):
            reader.claim("a", owner="one", generation=0, older_than_seconds=1.0, intent="refresh")


def test_a_timeout_of_the_server(server, table, open_store):
    """A statement that the server cancels points to long transactions."""
    # Another store makes the record: on a busy machine, that may take longer.
    open_store(store_url(server, table)).publish(
        "a", owner="one", replaces=0, generation=1, sealed=b"", lifetime_seconds=1,
        age_seconds=0, keep=False,
    )  # fmt: skip
    holder = psycopg.connect(store_url(server))
    with holder:
        holder.execute(f"SELECT FROM {table} FOR UPDATE")
        store = open_store(store_url(server, table, options="-cstatement_timeout%3D50"))
        with pytest.raises(StoreUnavailableError, match="long transactions"):
            store.claim("a", owner="one", generation=1, older_than_seconds=1.0, intent="refresh")


def test_tls(server, table, open_store):
    """With the right authority TLS works; with another one the error says what to check."""
    url = store_url(server, table, user="fleet", sslmode="verify-full")
    assert open_store(f"{url}&sslrootcert={server.ca_file}").read("a").generation == 0
    error = error_of(open_store(f"{url}&sslrootcert=/nonexistent/ca.pem"))
    assert "TLS failed" in str(error)
    assert error.is_misconfigured


def test_a_connection_with_a_transaction(server, table):
    """A function that returns a connection in a transaction is refused."""
    from tokenkeeper.stores.postgresql import PostgreSQLTokenStore

    def connect():
        connection = psycopg.connect(store_url(server), application_name=table)
        connection.execute("SELECT 1")
        return connection

    error = error_of(PostgreSQLTokenStore(connect=connect, timeout_seconds=20.0))
    assert "autocommit=True" in str(error)
    assert error.is_misconfigured
    assert not sessions(server, table)
