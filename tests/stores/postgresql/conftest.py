"""A server for all tests of this folder, and a table for each."""

import itertools
import os

import pytest
from kit.servers.store_postgres import running_pgbouncer, running_store_postgres, store_url

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server():
    """Return a server that runs until the last test."""
    with running_store_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def bouncer(server):
    """Return PgBouncer before the server, with transaction pooling."""
    with running_pgbouncer(server) as bouncer:
        yield bouncer


@pytest.fixture
def table():
    """Return the name of a table that does not exist yet."""
    return f"records_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def open_store():
    """Return a function that opens a store, which is closed at the end."""
    from tokenkeeper.stores.postgresql import PostgreSQLTokenStore

    opened = []

    def open_one(url, timeout_seconds=20.0):
        store = PostgreSQLTokenStore.from_url(url, timeout_seconds=timeout_seconds)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(server, table, open_store):
    """Return a store in a table of its own, patient with a busy machine.

    Its connections are called as the table, so that the test finds its sessions.
    """
    return open_store(store_url(server, table, application_name=table))
