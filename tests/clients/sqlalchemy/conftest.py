"""SQLAlchemy against PostgreSQL, with each of its drivers."""

import pytest
from kit.servers.postgres import running_postgres


@pytest.fixture(scope="session")
def postgres_server():
    """Return a PostgreSQL server for all tests."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server, server):
    """Return the server, which accepts the live tokens of this test."""
    postgres_server.radius.accepts = server.is_alive
    return postgres_server
