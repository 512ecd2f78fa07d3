"""Fixtures: the servers, each of which all tests of a process share, and stores in them."""

import pytest
from kit import redis_servers as servers

from tokenkeeper.stores.redis import RedisTokenStore


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory):
    binary = servers.valkey_binary()
    with servers.RedisServer(binary, tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey(valkey_server):
    """Return a Valkey server without data, users and connections."""
    valkey_server.run("FLUSHALL")
    return valkey_server


@pytest.fixture
def own_valkey(tmp_path):
    """Return a Valkey server that the test may stop."""
    with servers.RedisServer(servers.valkey_binary(), tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """Return a Redis server."""
    with servers.RedisServer(servers.redis_binary(), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory):
    """Return a Redis server that speaks TLS alone."""
    with servers.TLSRedisServer(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory):
    """Return a primary and a replica with three Sentinels."""
    with servers.running(servers.SentinelGroup, tmp_path_factory.mktemp("sentinels")) as group:
        yield group


@pytest.fixture(scope="session")
def cluster_servers(tmp_path_factory):
    with servers.running(servers.Cluster, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(cluster_servers):
    """Return a Cluster of three primaries, which are well, without data."""
    cluster_servers.wait()
    for server in cluster_servers.servers:
        server.run("FLUSHALL")
    return cluster_servers


@pytest.fixture
def make_store():
    """Return a function that makes stores from URLs, and closes them at the end."""
    stores = []

    def make(url, **options):
        # A busy machine must not be taken for a server that hangs.
        stores.append(RedisTokenStore.from_url(url, **{"timeout_seconds": 20.0, **options}))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store, valkey):
    """Return a store in Valkey."""
    return make_store(valkey.url)
