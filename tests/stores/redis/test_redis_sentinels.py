"""Sentinels that hang or are gone, and a failover."""

import pytest
from kit.awake import awake_seconds
from kit.guards import PROGRAM_SECONDS, until
from kit.servers.raw import CLOSED_PORT, Scripted, silence
from kit.store_calls import claim, failure_of, publish

from tokenkeeper.exceptions import StoreUnavailableError

pytestmark = pytest.mark.slow


def test_a_sentinel_that_hangs(sentinels, make_store):
    """If a Sentinel hangs there is time to ask another; if all do, one timeout is over."""
    with Scripted(always=silence) as hung:
        host = f"127.0.0.1:{hung.port}"
        store = make_store(sentinels.url.replace("://", f"://{host},"), timeout_seconds=4.0)
        assert store.read("key").generation == 0
        assert hung.connections == 1
        store = make_store(f"redis+sentinel://{host},{host}/fleet", timeout_seconds=0.5)
        with awake_seconds() as seconds:
            error = failure_of(lambda: store.read("key"))
            assert seconds() < 1.5
    assert "no Sentinel can be reached" in str(error)


def test_sentinels_that_are_gone(make_store):
    """If no Sentinel accepts connections, the error says so."""
    store = make_store(f"redis+sentinel://127.0.0.1:{CLOSED_PORT},127.0.0.1:{CLOSED_PORT}/fleet")
    error = failure_of(lambda: store.read("key"))
    assert "no Sentinel can be reached" in str(error)
    assert not error.is_misconfigured


def test_an_unknown_primary(sentinels, make_store):
    """If no Sentinel knows the primary, the error asks to check its name."""
    store = make_store(sentinels.url.replace("/fleet", "/unknown"))
    assert "Check the name in the URL" in str(failure_of(lambda: store.read("key")))


def test_a_failover(sentinels, make_store):
    """After a failover the store follows the Sentinels to the new primary, and the record is there.

    Meanwhile, it raises its one error.
    """
    store = make_store(sentinels.url)
    publish(store)
    claim(store, generation=1)

    def primary():
        return store._attempt(lambda client, _: client.connection_pool.get_master_address())

    before = primary()
    sentinels.sentinels[0].run("SENTINEL", "FAILOVER", "fleet")

    def is_over():
        try:
            return claim(store, generation=1).granted and primary() != before
        except StoreUnavailableError:
            return False

    until(is_over, "the failover", limit=PROGRAM_SECONDS, pause=0.05)
    record = store.read("key")
    assert (record.sealed, record.owner) == (b"token", "first")
    assert publish(store, replaces=1)
    store.forget("key", entirely=True)
