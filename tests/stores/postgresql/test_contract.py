"""The store in PostgreSQL keeps the contract, directly and through PgBouncer."""

import pytest
from kit.servers.store_postgres import store_url

from tokenkeeper.testing import TokenStoreContract

pytest.importorskip("psycopg", reason="the store in PostgreSQL needs psycopg")

from tokenkeeper.stores.postgresql import PostgreSQLTokenStore

pytestmark = pytest.mark.slow


class TestPostgreSQLTokenStore(TokenStoreContract):
    """The store keeps the contract."""

    @pytest.fixture(autouse=True)
    def _server(self, server, table):
        self.url = store_url(server, table)

    def make_store(self):
        # Patient with a busy machine.
        return PostgreSQLTokenStore.from_url(self.url, timeout_seconds=20.0)

    def make_unavailable_store(self):
        return PostgreSQLTokenStore.from_url("postgresql://fleet@127.0.0.1:1/fleet")


class TestPooled(TestPostgreSQLTokenStore):
    """The same through PgBouncer, whose server processes are shared by transactions."""

    @pytest.fixture(autouse=True)
    def _pooler(self, _server, server, bouncer):
        self.url = self.url.replace(f":{server.port}/", f":{bouncer.port}/")
