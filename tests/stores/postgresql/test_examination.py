"""What the doctor finds out about a store in PostgreSQL."""

import pytest
from kit.servers.raw import CLOSED_PORT
from kit.servers.store_postgres import LOCKED_ROLE, PASSWORD, as_superuser, store_url

pytest.importorskip("psycopg", reason="the store in PostgreSQL needs psycopg")

from tokenkeeper.stores import _postgresql_examination as examination

pytestmark = pytest.mark.slow


def findings(store):
    """Return the findings of an examination by what was checked; each is one line."""
    found = store.examine()
    for each in found:
        assert (each.message + each.advice).isprintable()
        assert PASSWORD not in each.message + each.advice
        assert bool(each.advice) == (each.status != "ok") or each.check in ("reachable", "writable")
    by_check = {each.check: each for each in found}
    assert len(by_check) == len(found)
    return by_check


def statuses(store):
    return {check: finding.status for check, finding in findings(store).items()}


def test_all_is_well(store):
    """A table that works is reported as such, and the examination leaves nothing in it."""
    assert findings(store)["table"].message.endswith("will be created when it is used")
    store.read("a")
    assert statuses(store) == dict.fromkeys(
        ("reachable", "encryption", "clock", "connections", "pooler", "writable"), "ok"
    )
    assert list(store.keys()) == []


def test_a_pooler_is_noticed(server, table, store, bouncer, open_store):
    """The examination says whether there is a pooler between."""
    pooled = open_store(
        store_url(server, table).replace(f":{server.port}/", f":{bouncer.port}/"),
    )
    assert "through a pooler" in findings(pooled)["pooler"].message
    assert "without a pooler" in findings(store)["pooler"].message


def test_a_server_that_is_gone(open_store):
    """A server that can't be reached is the only finding."""
    assert statuses(open_store(f"postgresql://fleet@127.0.0.1:{CLOSED_PORT}/fleet")) == {
        "reachable": "problem"
    }


def test_permissions(server, table, store, open_store):
    """A user without permissions needs the statements that an administrator runs."""
    locked = open_store(store_url(server, table, user=f"{LOCKED_ROLE}:{PASSWORD}"))
    finding = findings(locked)["table"]
    assert finding.status == "problem"
    assert finding.advice.startswith("as an administrator, run: CREATE TABLE")
    store.read("a")
    finding = findings(locked)["permissions"]
    assert finding.status == "problem"
    as_superuser(server, finding.advice.removeprefix("as the table's owner, run: "))
    assert findings(locked)["writable"].status == "ok"


def test_a_read_only_server(server, table, open_store):
    """A server that can't write is a problem."""
    reader = open_store(store_url(server, table, options="-cdefault_transaction_read_only%3Don"))
    assert findings(reader)["writable"].message == "the server is read-only"


def test_another_table(server, table, store):
    """A table of something else is a problem of the probe."""
    as_superuser(server, f"CREATE TABLE {table} (id integer); GRANT ALL ON {table} TO fleet")
    assert "is not a table of Tokenkeeper" in findings(store)["writable"].message


def test_clocks_that_disagree(server, store, monkeypatch):
    """A server's clock that is not this machine's is a warning."""
    monkeypatch.setattr(examination, "LARGEST_DIFFERENCE_SECONDS", -1.0)
    assert findings(store)["clock"].status == "warning"


def test_a_full_server(store, monkeypatch):
    """A server that runs out of connections is a warning."""
    monkeypatch.setattr(examination, "LARGEST_SHARE", 0.0)
    assert "put PgBouncer in front" in findings(store)["connections"].advice


def test_encryption(server, table, open_store, monkeypatch):
    """A server elsewhere needs TLS, and a certificate that is verified."""
    monkeypatch.setattr(examination, "_is_local", lambda host: False)
    plain = open_store(store_url(server, table, sslmode="disable"))
    assert findings(plain)["encryption"].status == "problem"
    unverified = open_store(store_url(server, table, sslmode="require"))
    assert findings(unverified)["encryption"].status == "warning"
    verified = store_url(server, table, sslmode="verify-full", sslrootcert=server.ca_file)
    assert findings(open_store(verified))["encryption"].status == "ok"


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("/run/postgresql", True),
        ("@abstract", True),
        ("", True),
        ("localhost", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("database.example.com", False),
    ],
)
def test_what_is_local(host, is_local):
    """Sockets and loopback need no encryption."""
    assert examination._is_local(host) is is_local
