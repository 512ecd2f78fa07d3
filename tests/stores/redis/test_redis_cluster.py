"""Records on a Cluster: spread, listed, moved, and on servers that hang."""

import pytest
from kit.awake import awake_seconds
from kit.servers.raw import CLOSED_PORT
from kit.store_calls import PASSWORD, eventually, everything, failure_of, publish

from tokenkeeper.stores._redis_errors import CLUSTER_COMMANDS, NEEDED_COMMANDS

pytestmark = pytest.mark.slow


@pytest.fixture
def store(cluster, make_store):
    """Return a store in the Cluster."""
    return make_store(cluster.url)


def slot_of(cluster, key):
    return cluster.servers[0].run("CLUSTER", "KEYSLOT", f"tokenkeeper:{{{key}}}")


def key_on(cluster, number):
    """Return a key whose record belongs to the server *number*."""
    keys = (f"key-{each}" for each in range(1000))
    return next(key for key in keys if slot_of(cluster, key) * 3 // 16384 == number)


def test_records_are_spread(cluster, store):
    """Records are on every server, and all of them are listed."""
    for number in range(30):
        publish(store, f"record-{number}")
    assert all(server.run("DBSIZE") for server in cluster.servers)
    assert sorted(store.keys()) == sorted(f"record-{number}" for number in range(30))


def test_each_server_is_examined(cluster, store):
    """What is wrong with one server is reported with its address."""
    cluster.servers[1].run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        warnings = [each for each in store.examine() if each.check == "memory"]
    finally:
        cluster.servers[1].run("CONFIG", "SET", "maxmemory-policy", "noeviction")
    bad = [each.message for each in warnings if each.status == "warning"]
    assert len(bad) == 1
    assert bad[0].startswith(f"127.0.0.1:{cluster.servers[1].port}: ")


def test_the_least_permissions(cluster, make_store):
    """Whatever a user lacks, the error names the rules for a Cluster, and they are enough."""
    store = make_store(cluster.url.replace("://", f"://least:{PASSWORD}@"))

    def allow(*rules):
        user = ("ACL", "SETUSER", "least", "reset", "on", f">{PASSWORD}", "-@all")
        for server in cluster.servers:
            server.run(*user, "~tokenkeeper:*", *NEEDED_COMMANDS.split(), *rules)

    rules = CLUSTER_COMMANDS.split()
    for left_out in rules:
        allow(*(rule for rule in rules if rule != left_out))
        assert CLUSTER_COMMANDS in str(failure_of(lambda: store.read("key"))), left_out
    allow(*rules)
    everything(store)
    store.close()
    for server in cluster.servers:
        server.run("ACL", "DELUSER", "least")


def test_a_slot_that_moves(cluster, store):
    """A record is found and renewed before, while and after its slot moves to another server."""
    key = key_on(cluster, 0)
    slot = slot_of(cluster, key)
    source, target, _ = cluster.servers
    assert publish(store, key)
    with cluster.moving(slot, source, target):
        assert store.read(key).sealed == b"token"
        source.run("MIGRATE", "127.0.0.1", target.port, f"tokenkeeper:{{{key}}}", 0, 5000)
        assert store.read(key).sealed == b"token"
        assert publish(store, key, 1)
    assert target.run("DBSIZE") == 1
    assert store.read(key).generation == 2
    store.forget(key, entirely=True)
    with cluster.moving(slot, target, source):
        pass


def test_servers_that_disagree(cluster, store):
    """If each of two servers says that the other has the slot, the error says that they disagree.

    It may pass, as at the end of a move.
    """
    key = key_on(cluster, 0)
    slot = slot_of(cluster, key)
    source, target, _ = cluster.servers
    with cluster.moving(slot, source, target):
        pass
    target.run("CLUSTER", "SETSLOT", slot, "NODE", source.run("CLUSTER", "MYID"))
    try:
        error = failure_of(lambda: store.read(key))
    finally:
        for server in cluster.servers:
            server.run("CLUSTER", "SETSLOT", slot, "NODE", source.run("CLUSTER", "MYID"))
    assert "do not agree on who has its slot" in str(error)
    assert not error.is_misconfigured
    eventually(lambda: store.read(key))


def test_a_server_that_hangs(cluster, store, make_store):
    """A hung server costs one timeout, and the records of the others can be used meanwhile."""
    store = make_store(cluster.url, timeout_seconds=0.5)
    keys = [key_on(cluster, number) for number in range(3)]
    for key in keys:
        eventually(lambda key=key: store.read(key))
    cluster.servers[0].pause()
    try:
        with awake_seconds() as seconds:
            error = failure_of(lambda: store.read(keys[0]))
            assert seconds() < 1.5
        assert "did not answer in time" in str(error)
        eventually(lambda: store.read(keys[1]))
    finally:
        cluster.servers[0].resume()
    eventually(lambda: store.read(keys[0]))


def test_a_slot_without_a_server(cluster, store):
    """If no server has a slot, the Cluster is down, which may pass."""
    key = key_on(cluster, 0)
    store.read(key)
    slot = slot_of(cluster, key)
    for server in cluster.servers:
        server.run("CLUSTER", "DELSLOTS", slot)
    try:
        error = failure_of(lambda: store.read(key))
    finally:
        cluster.servers[0].run("CLUSTER", "ADDSLOTS", slot)
    assert "the Cluster is down" in str(error)
    assert not error.is_misconfigured
    eventually(lambda: store.read(key))


def test_schemes_of_another_kind(cluster, valkey, make_store):
    """A URL for a Cluster does not fit a single server, and the other way round."""
    single = make_store(f"redis+cluster://127.0.0.1:{valkey.port}")
    error = failure_of(lambda: single.read("key"))
    assert error.is_misconfigured
    assert "Use redis:// instead" in str(error)
    store = make_store(f"redis://127.0.0.1:{cluster.servers[0].port}")
    error = failure_of(lambda: store.read(key_on(cluster, 2)))
    assert error.is_misconfigured
    assert "redis+cluster://" in str(error)


def test_a_cluster_that_is_gone(make_store):
    """If no server can be reached, the error says so."""
    url = f"redis+cluster://127.0.0.1:{CLOSED_PORT},127.0.0.1:{CLOSED_PORT}"
    error = failure_of(lambda: make_store(url).read("key"))
    assert "nothing accepts connections" in str(error)
    assert not error.is_misconfigured
