"""What real servers refuse: one line with a cause and a remedy, and nothing is overwritten."""

import pytest
import redis
from kit.servers.raw import CLOSED_PORT, Scripted
from kit.store_calls import HASH, PASSWORD, claim, everything, failure_of, publish

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores._redis_errors import NEEDED_COMMANDS

pytestmark = pytest.mark.slow


def test_a_closed_port(make_store):
    """Where nothing listens, the error says so at once."""
    store = make_store(f"redis://:{PASSWORD}@127.0.0.1:{CLOSED_PORT}")
    error = failure_of(lambda: store.read("key"))
    assert "nothing accepts connections" in str(error)
    assert not error.is_misconfigured


def test_passwords(own_valkey, make_store):
    """A missing, a wrong and a superfluous password are misconfigurations."""
    place = f"127.0.0.1:{own_valkey.port}"
    for user in (f"app:{PASSWORD}", f":{PASSWORD}"):
        store = make_store(f"redis://{user}@{place}")
        error = failure_of(lambda store=store: store.read("key"))
        assert error.is_misconfigured
        assert "password" in str(error)
    own_valkey.run("CONFIG", "SET", "requirepass", "another")
    for user in (f"default:{PASSWORD}@", ""):
        store = make_store(f"redis://{user}{place}")
        error = failure_of(lambda store=store: store.read("key"))
        assert error.is_misconfigured
        assert "password" in str(error)
    assert make_store(f"redis://:another@{place}").read("key").generation == 0


class Credentials(redis.CredentialProvider):
    """Credentials that are asked for with each connection."""

    def __init__(self, *passwords):
        self.passwords = list(passwords)

    def get_credentials(self):
        return "app", self.passwords.pop(0)


@pytest.mark.parametrize("kind", ["single", "sentinel"])
def test_credential_providers(kind, request, make_store):
    """A credential provider is asked for each new connection to the server."""
    if kind == "single":
        server = request.getfixturevalue("valkey")
        url, ports = server.url, [server]
    else:
        group = request.getfixturevalue("sentinels")
        url, ports = group.url, [group.primary, group.replica]
    for server in ports:
        server.run("ACL", "SETUSER", "app", "reset", "on", f">{PASSWORD}", "~*", "+@all")
    store = make_store(url, credential_provider=Credentials(PASSWORD, "wrong", PASSWORD))
    store.read("key")
    store.close()
    assert failure_of(lambda: store.read("key")).is_misconfigured
    assert store.read("key").generation == 0
    for server in ports:
        server.run("ACL", "DELUSER", "app")


def test_frames_of_errors(make_store):
    """The frames of an error, which trackers record, contain neither token nor password."""
    store = make_store(f"redis://:{PASSWORD}@127.0.0.1:{CLOSED_PORT}")
    sealed = b"a token in plain text"
    for operation in (store.publish, store.fail):
        arguments = {"owner": "first", "sealed": sealed}
        if operation == store.publish:
            arguments |= {"replaces": 0, "generation": 1, "keep": False}
            arguments |= {"lifetime_seconds": 60.0, "age_seconds": 0.0}
        else:
            arguments |= {"fence": 1}
        with pytest.raises(StoreUnavailableError) as caught:
            operation("key", **arguments)
        frames = [entry.frame.f_locals for entry in caught.traceback[1:]]
        assert "a token in plain text" not in repr(frames)
        assert PASSWORD not in repr(frames)


@pytest.mark.parametrize("server", ["valkey_server", "redis_server"])
def test_the_least_permissions(server, request, make_store):
    """The rules that the error names are enough, and without any of them an operation fails."""
    server = request.getfixturevalue(server)
    store = make_store(f"redis://least:{PASSWORD}@127.0.0.1:{server.port}")

    def allow(*rules):
        user = ("ACL", "SETUSER", "least", "reset", "on", f">{PASSWORD}", "-@all")
        server.run(*user, "~tokenkeeper:*", *rules)
        server.run("SCRIPT", "FLUSH")  # or EVALSHA would be enough

    rules = NEEDED_COMMANDS.split()
    allow(*rules)
    everything(store)
    for left_out in rules:
        store.close()
        allow(*(rule for rule in rules if rule != left_out))
        error = failure_of(lambda: everything(store))
        assert error.is_misconfigured, left_out
        assert NEEDED_COMMANDS in str(error), left_out
        allow(*rules)
        store.forget("of-everything", entirely=True)
    server.run("ACL", "DELUSER", "least")


def test_the_permission_for_another_database(valkey, make_store):
    """The error names the rule that a database other than 0 needs, and with it everything works."""
    store = make_store(f"redis://least:{PASSWORD}@127.0.0.1:{valkey.port}/1")
    user = ("ACL", "SETUSER", "least", "reset", "on", f">{PASSWORD}", "~tokenkeeper:*")
    valkey.run(*user, "-@all", *NEEDED_COMMANDS.split())
    assert "+select for another database" in str(failure_of(lambda: store.read("key")))
    valkey.run("ACL", "SETUSER", "least", "+select")
    everything(store)
    valkey.run("ACL", "DELUSER", "least")


def test_without_dangerous_commands(valkey, make_store):
    """A user without dangerous commands can do everything; what INFO would say is unknown."""
    user = ("ACL", "SETUSER", "tame", "reset", "on", f">{PASSWORD}", "~*", "+@all", "-@dangerous")
    valkey.run(*user)
    store = make_store(f"redis://tame:{PASSWORD}@127.0.0.1:{valkey.port}")
    everything(store)
    findings = {each.check: each for each in store.examine()}
    assert {each.status for each in findings.values()} == {"ok"}
    assert all(findings[check].message.startswith("unknown") for check in ("memory", "role"))
    valkey.run("ACL", "DELUSER", "tame")


def every_operation(store):
    """Return each operation on the record ``key``."""
    return {
        "read": lambda: store.read("key"),
        "claim": lambda: claim(store),
        "publish": lambda: publish(store),
        "fail": lambda: store.fail("key", owner="first", fence=1, sealed=b"why"),
        "forget": lambda: store.forget("key"),
        "forget entirely": lambda: store.forget("key", entirely=True),
    }


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("SET", HASH, "theirs"), "another program"),
        (("RPUSH", HASH, "theirs"), "another program"),
        (("HSET", HASH, "name", "theirs"), "another program"),
        (("HSET", HASH, "version", "theirs", "generation", "1"), "another program"),
        (("HSET", HASH, "version", "2", "generation", "1"), "newer version"),
    ],
)
def test_what_is_not_ours(valkey, store, command, words):
    """A key of another program, or of a newer version, is reported and never changed."""
    valkey.run(*command)
    before = valkey.run("DUMP", HASH)
    for name, operation in every_operation(store).items():
        error = failure_of(operation)
        assert error.is_misconfigured, name
        assert words in str(error), name
    assert valkey.run("DUMP", HASH) == before
    assert valkey.run("TTL", HASH) == -1
    problems = [each for each in store.examine() if each.status == "problem"]
    assert [(each.check, words in each.message) for each in problems] == [("records", True)]


_NOT_COUNTS = {"a letter": "x", "a sign": "-1", "too long": "9" * 19, "padded": "01"}
_NOT_MOMENTS = {"a letter": "x", "a fraction": "1.5", "too long": "9" * 21, "no number": "nan"}
DAMAGED = {
    "generation": _NOT_COUNTS,
    "fence": _NOT_COUNTS,
    "lifetime": {"a letter": "x", "hexadecimal": "0x10", "a zero byte": "5\0", "no number": "nan"},
    "sent_at": _NOT_MOMENTS,
    "claimed_at": _NOT_MOMENTS,
    "failed_at": _NOT_MOMENTS,
}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        pytest.param(member, value, id=f"{member}: {name}")
        for member, values in DAMAGED.items()
        for name, value in values.items()
    ],
)
def test_damaged_records(valkey, store, member, value):
    """A damaged record is reported and not changed, but can be deleted."""
    publish(store)
    valkey.run("HSET", HASH, member, value)
    before = valkey.run("HGETALL", HASH)
    operations = every_operation(store)
    delete = operations.pop("forget entirely")
    for name, operation in operations.items():
        assert "damaged" in str(failure_of(operation)), name
    assert valkey.run("HGETALL", HASH) == before
    assert delete()
    assert publish(store)


def test_a_damaged_owner(valkey, store):
    """A claim whose owner and intent are not UTF-8 is shown as text, and taken over by its age."""
    publish(store)
    valkey.run("HSET", HASH, "owner", b"\xff", "intent", b"\xfe", "claimed_at", "1")
    record = store.read("key")
    assert (record.owner, record.intent, record.sealed) == ("\ufffd", "\ufffd", b"token")
    taken = claim(store, owner="second", generation=1)
    assert (taken.granted, taken.taken_from, taken.taken_intent) == (True, "\ufffd", "\ufffd")


@pytest.mark.parametrize("age", [1e13, float("inf"), float("nan")], ids=str)
def test_an_absurd_age(store, age):
    """A token of an age that no token has is stored as one of unknown age."""
    publish(store, age_seconds=age)
    assert store.read("key").age_seconds == float("inf")


def test_a_full_server(own_valkey, make_store):
    """A server without memory can be read, and refuses to write."""
    store = make_store(own_valkey.url)
    publish(store)
    own_valkey.run("CONFIG", "SET", "maxmemory", "1")
    assert store.read("key").sealed == b"token"
    error = failure_of(lambda: claim(store, generation=1))
    assert "no memory left" in str(error)
    assert not error.is_misconfigured


def test_a_replica(own_valkey, make_store):
    """A replica can be read, and refuses to write; one without its primary may refuse both."""
    store = make_store(own_valkey.url)
    publish(store)
    own_valkey.run("REPLICAOF", "127.0.0.1", CLOSED_PORT)
    assert store.read("key").sealed == b"token"
    connection = store._attempt(lambda client, _: client.client_id())
    error = failure_of(lambda: claim(store, generation=1))
    assert "is a replica" in str(error)
    assert not error.is_misconfigured
    # Its name may lead to another server by now, so the next attempt begins with a connection.
    assert store._attempt(lambda client, _: client.client_id()) != connection
    findings = {each.check: each.status for each in store.examine()}
    assert findings["writable"] == "problem"
    assert findings["role"] == "problem"
    own_valkey.run("CONFIG", "SET", "replica-serve-stale-data", "no")
    assert "lost its primary" in str(failure_of(lambda: store.read("key")))
    own_valkey.run("REPLICAOF", "NO", "ONE")
    assert claim(store, generation=1).granted


def test_too_few_replicas(own_valkey, make_store):
    """A server that wants replicas refuses to write without them."""
    own_valkey.run("CONFIG", "SET", "min-replicas-to-write", "1")
    store = make_store(own_valkey.url)
    assert "replicas" in str(failure_of(lambda: publish(store)))


def test_other_databases(valkey, make_store):
    """Databases are apart, and one that does not exist is a misconfiguration."""
    place = f"redis://127.0.0.1:{valkey.port}"
    publish(make_store(f"{place}/1"))
    assert make_store(f"{place}/0").read("key").generation == 0
    assert make_store(f"{place}/1").read("key").generation == 1
    error = failure_of(lambda: make_store(f"{place}/9999").read("key"))
    assert error.is_misconfigured
    assert "no such database" in str(error)


def test_tls(tls_server, make_store):
    """An untrusted certificate, a wrong name, and TLS on one side alone are reported as such."""
    assert make_store(tls_server.url).read("key").generation == 0
    place = f"localhost:{tls_server.port}"
    trust = f"ssl_ca_certs={tls_server.ca_file}"
    cases = {
        f"rediss://:{PASSWORD}@{place}": "certificate is not trusted",
        f"rediss://127.0.0.1:{tls_server.port}?{trust}": "certificate is not trusted",
        f"rediss://{place}?ssl_ca_certs=/nowhere/ca.pem": "does not exist",
    }
    for url, words in cases.items():
        error = failure_of(lambda url=url: make_store(url).read("key"))
        assert words in str(error), url
        assert error.is_misconfigured
    assert "rediss://" in str(failure_of(lambda: make_store(f"redis://{place}").read("key")))


def test_an_http_server(make_store):
    """A port of another protocol, or without TLS, is a misconfiguration."""
    cases = {"redis": "does not speak the protocol", "rediss": "does not use TLS"}
    for scheme, words in cases.items():
        with Scripted(always=answer_at_once) as server:
            store = make_store(f"{scheme}://:{PASSWORD}@127.0.0.1:{server.port}")
            error = failure_of(lambda store=store: store.read("key"))
        assert error.is_misconfigured
        assert words in str(error)


def answer_at_once(server, sock):
    sock.recv(1)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
