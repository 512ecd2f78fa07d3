"""The store keeps the contract on each kind of server."""

import pytest
from kit.servers.raw import CLOSED_PORT

from tokenkeeper.stores.redis import RedisTokenStore
from tokenkeeper.testing import TokenStoreContract

pytestmark = pytest.mark.slow


class OnAServer(TokenStoreContract):
    """Contract tests on the server at ``self.url``."""

    def make_store(self):
        # A busy machine must not be taken for a server that hangs.
        return RedisTokenStore.from_url(self.url, timeout_seconds=20.0)

    def make_unavailable_store(self):
        return RedisTokenStore.from_url(f"redis://127.0.0.1:{CLOSED_PORT}")


class TestValkey(OnAServer):
    """Valkey keeps it."""

    @pytest.fixture(autouse=True)
    def _server(self, valkey_server):
        self.url = valkey_server.url


class TestRedis(OnAServer):
    """Redis keeps it."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server):
        self.url = redis_server.url


class TestTLS(OnAServer):
    """A server that speaks TLS keeps it, across forks as well."""

    @pytest.fixture(autouse=True)
    def _server(self, tls_server):
        self.url = tls_server.url


class TestSentinels(OnAServer):
    """The primary that Sentinels name keeps it."""

    @pytest.fixture(autouse=True)
    def _server(self, sentinels):
        self.url = sentinels.url


class TestCluster(OnAServer):
    """A Cluster keeps it."""

    @pytest.fixture(autouse=True)
    def _server(self, cluster):
        self.url = cluster.url
