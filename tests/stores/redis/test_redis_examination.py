"""What the doctor reports about a server in Redis or Valkey."""

import pytest
from kit.servers.raw import CLOSED_PORT
from kit.store_calls import PASSWORD, publish

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.stores import _redis_examination as examination
from tokenkeeper.stores._redis_errors import NEEDED_COMMANDS
from tokenkeeper.stores._redis_url import parse
from tokenkeeper.testing import MemoryTokenStore


def by_check(store):
    """Return the status and the message of each check."""
    return {each.check: (each.status, each.message) for each in store.examine()}


@pytest.mark.slow
def test_a_server_in_order(own_valkey, make_store):
    """A server that persists its data has no fault, and the examination leaves nothing there."""
    own_valkey.run("CONFIG", "SET", "appendonly", "yes")
    store = make_store(own_valkey.url)
    publish(store)
    before = own_valkey.run("DBSIZE")
    found = by_check(store)
    assert {status for status, _ in found.values()} == {"ok"}
    assert found["reachable"] == ("ok", f"{store.label} answers")
    assert found["memory"] == ("ok", "maxmemory-policy is noeviction")
    assert found["persistence"] == ("ok", "appendonly")
    assert found["records"] == ("ok", "1")
    assert list(found) == [
        *("reachable", "writable", "round trip", "encryption", "clock", "role", "memory"),
        *("persistence", "records"),
    ]
    assert own_valkey.run("DBSIZE") == before


@pytest.mark.slow
def test_settings_that_lose_tokens(own_valkey, make_store):
    """Eviction of any key, and no persistence, are warnings that say what is lost."""
    store = make_store(own_valkey.url)
    own_valkey.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    found = by_check(store)
    assert found["memory"][0] == found["persistence"][0] == "warning"
    assert "may drop any token" in found["memory"][1]
    assert "refresh tokens are lost" in found["persistence"][1]
    own_valkey.run("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    own_valkey.run("CONFIG", "SET", "save", "3600 1")
    found = by_check(store)
    assert found["memory"][0] == found["persistence"][0] == "ok"
    assert "save 3600 1" in found["persistence"][1]


@pytest.mark.slow
def test_the_least_permissions_are_enough(valkey, make_store):
    """With the permissions that a store needs, the rest is unknown, and nothing is wrong."""
    user = ("ACL", "SETUSER", "least", "reset", "on", f">{PASSWORD}", "-@all", "~tokenkeeper:*")
    valkey.run(*user, *(rule for rule in NEEDED_COMMANDS.split() if rule != "+scan"))
    found = by_check(make_store(f"redis://least:{PASSWORD}@127.0.0.1:{valkey.port}"))
    valkey.run("ACL", "DELUSER", "least")
    assert {status for status, _ in found.values()} == {"ok"}
    unknown = {check for check, (_, message) in found.items() if message.startswith("unknown")}
    assert unknown == {"role", "memory", "persistence", "records"}


def test_a_server_that_cannot_be_reached(make_store):
    """Where the server can't be read, that is the only finding."""
    [finding] = make_store(f"redis://127.0.0.1:{CLOSED_PORT}").examine()
    assert (finding.check, finding.status) == ("reachable", "problem")
    assert "nothing accepts connections" in finding.message


@pytest.mark.slow
def test_slow_answers(store, monkeypatch):
    """A slow round trip is a warning."""
    monkeypatch.setattr(examination, "SLOW_SECONDS", 0.0)
    assert by_check(store)["round trip"][0] == "warning"


@pytest.mark.parametrize(
    ("url", "status", "words"),
    [
        ("redis://127.0.0.1", "ok", "on this machine"),
        ("redis://localhost", "ok", "on this machine"),
        ("redis://cache.example.com", "warning", "unencrypted"),
        ("redis+cluster://localhost,cache.example.com", "warning", "unencrypted"),
        ("rediss://cache.example.com", "ok", "TLS"),
        ("rediss://cache.example.com?ssl_cert_reqs=none", "warning", "not checked"),
    ],
)
def test_encryption(url, status, words):
    """Off this machine, a connection must be encrypted, and the certificate checked."""
    [finding] = examination._encryption(parse(url, {}), None)
    assert finding.status == status
    assert words in finding.message


class Server:
    """A server whose clock is ahead."""

    def __init__(self, ahead):
        self.ahead = ahead

    def time(self):
        moment = SYSTEM_CLOCK.time() + self.ahead
        return int(moment), int(moment % 1 * 1_000_000)


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [(0, "ok", "0.0 s"), (20, "warning", "20.0 s ahead"), (-3600, "warning", "3600.0 s behind")],
)
def test_clocks(ahead, status, words):
    """A server's clock that differs by five seconds or more is a warning."""
    [finding] = examination._clock(lambda question: question(None), Server(ahead))
    assert finding.status == status
    assert words in finding.message


def test_records_that_vanish():
    """A store that has lost a record right after it was written is a problem."""

    class Forgetful(MemoryTokenStore):
        def fail(self, key, **arguments):
            return self.forget(key, entirely=True)

    findings = list(examination._writes(Forgetful(), "key"))
    assert [(each.check, each.status) for each in findings] == [("writable", "problem")]
