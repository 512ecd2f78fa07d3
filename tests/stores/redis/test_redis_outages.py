"""Servers that hang, restart, forget their scripts or fail over."""

import contextlib
import gc
import threading

import pytest
import redis
from kit import redis_servers as servers
from kit.awake import awake_seconds
from kit.guards import open_sockets, until
from kit.redis_servers import Monitor
from kit.servers.raw import Scripted, drip, without_end
from kit.store_calls import HASH, claim, eventually, everything, failure_of, publish

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.redis import RedisTokenStore
from tokenkeeper.stores.sealed import KeyRing

pytestmark = pytest.mark.slow

TIMEOUT = 0.5
BOUND = 3 * TIMEOUT
"""The longest time for an operation that may take ``TIMEOUT``, on a busy machine."""


def times_out(operation):
    """Check that *operation* fails for want of an answer, and in time."""
    with awake_seconds() as seconds:
        error = failure_of(operation)
        assert seconds() < BOUND
    assert "did not answer in time" in str(error)
    assert not error.is_misconfigured


@contextlib.contextmanager
def hung(server):
    server.pause()
    try:
        yield
    finally:
        server.resume()


def test_a_server_that_hangs(valkey, make_store):
    """A hung server costs each operation one timeout, connected or not; then it is used again."""
    store = make_store(valkey.url, timeout_seconds=TIMEOUT)
    eventually(lambda: store.read("key"))
    with hung(valkey):
        times_out(lambda: store.read("key"))
        times_out(lambda: claim(store, generation=1))
        times_out(lambda: list(store.keys()))
        url = f"redis://app:password@127.0.0.1:{valkey.port}/3"
        times_out(lambda: make_store(url, timeout_seconds=TIMEOUT).read("key"))
        tls = make_store(f"rediss://127.0.0.1:{valkey.port}", timeout_seconds=TIMEOUT)
        times_out(lambda: tls.read("key"))
    eventually(lambda: store.read("key"))


def test_claims_that_a_hung_server_grants_later(valkey, make_store):
    """A claim that its owner gave up waiting for is granted to it again, and to no one else."""
    store = make_store(valkey.url, timeout_seconds=TIMEOUT)
    eventually(lambda: claim(store, "another"))  # so that the server knows the script
    with hung(valkey):
        times_out(lambda: claim(store))
    store = make_store(valkey.url)
    until(lambda: store.read("key").owner == "first", "the ghost's claim")
    assert not claim(store, owner="second").granted
    assert claim(store).granted


@pytest.mark.parametrize(
    "script",
    [drip(b"+" + b"x" * 10_000), without_end(b"*100000\r\n", b"$1\r\nx\r\n", 0.02)],
    ids=["bytes", "members"],
)
def test_a_server_that_never_ends_its_answer(script, make_store):
    """A server that sends a little again and again can't hold a caller longer either."""
    with Scripted(always=script) as server:
        url = f"redis://127.0.0.1:{server.port}"
        store = make_store(url, timeout_seconds=TIMEOUT)
        with awake_seconds() as seconds:
            failure_of(lambda: store.read("key"))
            assert seconds() < BOUND


def test_many_threads_on_a_hung_server(valkey, make_store, crowd):
    """Threads that share a store do not wait for each other's timeouts."""
    store = make_store(valkey.url, timeout_seconds=TIMEOUT)
    eventually(lambda: store.read("key"))
    with hung(valkey), awake_seconds() as seconds:
        results = crowd(8, lambda: store.read("key"))
        assert seconds() < 2 * BOUND
    assert {type(each) for each in results} == {StoreUnavailableError}
    eventually(lambda: store.read("key"))


def test_a_restart(own_valkey, make_store):
    """After a restart the first operation succeeds, on a new connection and with new scripts."""
    store = make_store(own_valkey.url)
    publish(store)
    own_valkey.restart()
    assert store.read("key").generation == 0
    assert publish(store)


def test_scripts_that_were_forgotten(valkey, store):
    """A server that forgot the scripts gets them again."""
    everything(store)
    valkey.run("SCRIPT", "FLUSH")
    everything(store)


class LosesAnswers(redis.Redis):
    """A client that loses the connection after a command was performed, once for each."""

    def __init__(self, **options):
        super().__init__(**options)
        self.lost = 0

    def execute_command(self, *args, **options):
        answer = super().execute_command(*args, **options)
        if self.lost % 2 == 0:
            self.lost += 1
            raise redis.ConnectionError("Connection closed by server.")
        self.lost += 1
        return answer


def test_lost_answers(valkey):
    """An operation whose answer was lost is repeated once, and has the result of the first."""
    with LosesAnswers(port=valkey.port, socket_timeout=20) as client:
        RedisTokenStore(redis.Redis(port=valkey.port, socket_timeout=20)).read("key")
        store = RedisTokenStore(client)
        assert publish(store)
        assert store.read("key").generation == 1
        answer = claim(store, generation=1)
        assert (answer.granted, answer.taken_from) == (True, "")
        assert store.fail("key", owner="first", fence=answer.record.fence, sealed=b"why")
        assert store.read("key").failure.sealed == b"why"
        assert client.lost == 10


def test_the_loser_of_a_failover(tmp_path, make_store):
    """On an older replica two may hold the claim: the first publishes, the second is refused."""
    for name in ("primary", "replica"):
        (tmp_path / name).mkdir()
    binary = servers.valkey_binary()
    with (
        servers.RedisServer(binary, tmp_path / "primary", repl_diskless_sync_delay=0) as primary,
        servers.RedisServer(binary, tmp_path / "replica") as replica,
    ):
        before, after = make_store(primary.url), make_store(replica.url)
        publish(before)
        replica.run("REPLICAOF", "127.0.0.1", primary.port)
        until(lambda: replica.run("INFO", "replication").get("master_link_status") == "up")
        until(lambda: after.read("key").generation == 1, "the replication")
        replica.run("REPLICAOF", "NO", "ONE")
        assert claim(before, owner="first", generation=1).granted
        primary.stop()
        assert claim(after, owner="second", generation=1).granted
        assert publish(after, replaces=1, sealed=b"of the first")
        assert not publish(after, replaces=1, sealed=b"of the second")
        assert after.read("key").sealed == b"of the first"


def test_closing(valkey, make_store):
    """Closing a store closes its connections."""
    before = open_sockets()
    store = make_store(valkey.url)
    store.read("key")
    assert open_sockets() == before + 1
    store.close()
    gc.collect()
    assert open_sockets() == before


def test_a_client_of_yours_stays_open(valkey):
    """Closing a store leaves a given client open, decoding or not."""
    with redis.Redis(port=valkey.port, socket_timeout=20, decode_responses=True) as client:
        store = RedisTokenStore(client)
        publish(store, sealed=b"\xff\x00")
        number = client.client_id()
        store.close()
        assert client.client_id() == number
        assert store.read("key").sealed == b"\xff\x00"
        assert list(store.keys()) == ["key"]
        assert {each.status for each in store.examine()} <= {"ok", "warning"}


def test_a_client_of_valkey(valkey):
    """A client of the library valkey is as good, and its errors are understood."""
    library = pytest.importorskip("valkey", reason="valkey is missing: install valkey")
    with library.Valkey(port=valkey.port, socket_timeout=20) as client:
        store = RedisTokenStore(client)
        valkey.run("SCRIPT", "FLUSH")
        everything(store)
        assert {each.status for each in store.examine()} <= {"ok", "warning"}
        valkey.run("SET", HASH, "theirs")
        assert "another program" in str(failure_of(lambda: store.read("key")))


def test_a_cluster_client_of_yours(cluster):
    """A given client of a Cluster can be used, listed and examined."""
    port = cluster.servers[0].port
    with redis.RedisCluster("127.0.0.1", port, socket_timeout=20) as client:
        store = RedisTokenStore(client)
        assert store.label.startswith("redis+cluster://")
        everything(store)
        assert {each.status for each in store.examine()} <= {"ok", "warning"}


def test_forked_children_have_connections_of_their_own(
    tls_server, make_store, exit_code_of, request
):
    """A child connects on its own, also over TLS, and the parent keeps its connection."""
    gc.freeze()  # the children collect what is made from here on
    request.addfinalizer(gc.unfreeze)
    store = make_store(tls_server.url)

    def connection():
        return store._attempt(lambda client, _: client.client_id())

    number = connection()

    def child():
        own = connection()
        store.close()
        gc.collect()
        return 0 if own != number and connection() not in (own, number) else 1

    assert exit_code_of(child) == 0
    assert exit_code_of(child) == 0
    assert connection() == number


def test_a_fork_while_another_thread_connects(valkey, make_store, exit_code_of):
    """A child does not wait for a thread of its parent that was about to connect."""
    store = make_store(valkey.url)
    store._connecting.acquire()
    try:
        assert exit_code_of(lambda: store.read("key").generation) == 0
    finally:
        store._connecting.release()
    assert store.read("key").generation == 0


def test_no_secret_on_the_server(valkey, store):
    """A sealed token appears neither in what the server executes nor in what it stores."""
    ring = KeyRing({"a": bytes(32)})
    key = ring.record_key("https://login.example.com client-of-ours scope")
    with Monitor(valkey) as monitor:
        sealed = ring.seal(b"access-token-of-ours", key, "token")
        claim(store, key)
        publish(store, key, sealed=sealed)
        record = store.read(key)
        commands = monitor.commands()
    assert ring.open(record.sealed, key, "token") == b"access-token-of-ours"
    assert any("EVALSHA" in command for command in commands)
    stored = valkey.run("HGETALL", f"tokenkeeper:{{{key}}}")
    for text in ("access-token-of-ours", "client-of-ours"):
        assert not any(text in command for command in commands)
        assert text not in str(stored)


def test_keys_of_others_are_not_listed(valkey, store):
    """Only records are listed, from any number of keys."""
    for number in range(30):
        publish(store, f"record-{number}")
    with redis.Redis(port=valkey.port) as client, client.pipeline() as pipe:
        for number in range(3000):
            pipe.set(f"theirs-{number}", "")
        pipe.set("tokenkeeper-of-ours", "").execute()
    assert sorted(store.keys()) == sorted(f"record-{number}" for number in range(30))


def test_threads_share_a_store(store, crowd):
    """Many threads claim at once: each fence is given once."""
    fences = crowd(8, lambda: claim(store, owner=threading.current_thread().name))
    granted = [each for each in fences if each.granted]
    assert len(granted) == 1
