"""How a store in PostgreSQL is described, without a server."""

import pytest

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.stores import TokenStore

pytest.importorskip("psycopg", reason="the store in PostgreSQL needs psycopg")

from tokenkeeper.stores._postgresql_errors import Explainer
from tokenkeeper.stores.postgresql import PostgreSQLTokenStore


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("postgresql://host/tokens", "postgresql://host/tokens"),
        ("postgres://user:pass%40word@host:5433/tokens", "postgresql://user@host:5433/tokens"),
        ("postgresql://user@host/tokens?password=pass%40word", "postgresql://user@host/tokens"),
        (
            "postgresql://a:1,b:2/tokens?target_session_attrs=read-write",
            "postgresql://a:1,b:2/tokens",
        ),
        (
            "postgresql://host/tokens?table=fleet.records&sslmode=require",
            "postgresql://host/tokens?table=fleet.records",
        ),
        (
            "postgresql://host/tokens?table=fleet%2Erecords",
            "postgresql://host/tokens?table=fleet.records",
        ),
        ("postgresql:///tokens?host=/run/postgresql", "postgresql:///run/postgresql/tokens"),
        ("postgresql://", "postgresql:///"),
    ],
)
def test_labels(url, label):
    """The label is the URL without passwords; nothing is connected to."""
    store = PostgreSQLTokenStore.from_url(url)
    assert store.label == label
    assert "pass@word" not in repr(store) + repr(vars(store))
    assert "pass%40word" not in repr(store) + repr(vars(store))
    assert isinstance(store, TokenStore)
    assert not store.is_private


def test_a_label_is_one_line():
    """A line end in a URL shows in no label."""
    store = PostgreSQLTokenStore.from_url("postgresql://us%0Aer@host/tok%0Aens")
    assert store.label == r"postgresql://us\ner@host/tok\nens"


def test_a_connection_string():
    """A connection string of libpq is accepted as well."""
    store = PostgreSQLTokenStore("host=db user=me password=secret dbname=tokens", table="a.b")
    assert store.label == "postgresql://me@db/tokens?table=a.b"


@pytest.mark.parametrize(
    "table", ["", "a.b.c", ".a", "a.", "a b", "a;b", 'a"b', "a'b", "1a", "a" * 64, "\u00fc" * 32]
)
def test_names_that_are_refused(table):
    """A table must have a name that PostgreSQL does not truncate."""
    with pytest.raises(InvalidConfigurationError, match="the table of the store must be a name"):
        PostgreSQLTokenStore("host=db", table=table)


@pytest.mark.parametrize("url", ["postgresql://u:se%cret@host/", "postgresql://u@h/?secret=secret"])
def test_urls_that_are_refused(url):
    """An invalid URL is refused, and not quoted."""
    with pytest.raises(InvalidConfigurationError, match="Percent-encode") as caught:
        PostgreSQLTokenStore.from_url(url)
    assert "secret" not in str(caught.value)
    assert "se%cret" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"conninfo": "host=db", "connect": print}, {"connect": 5}],
)
def test_arguments_that_are_refused(arguments):
    """A store needs a connection string, or a function that connects."""
    with pytest.raises(InvalidConfigurationError, match="connect"):
        PostgreSQLTokenStore(**arguments)


def test_timeouts_that_are_refused():
    """A timeout is more than 0 seconds."""
    with pytest.raises(InvalidConfigurationError, match="timeout_seconds"):
        PostgreSQLTokenStore.from_url("postgresql://host/tokens", timeout_seconds=0)


@pytest.mark.parametrize(
    ("sqlstate", "message", "advice", "is_misconfigured"),
    [
        ("53100", "could not extend file: No space left on device", "Make room", False),
        ("53300", "sorry", "Put PgBouncer in front of it", False),
        ("25006", "cannot execute INSERT", "target_session_attrs=read-write", False),
        ("57P01", "terminating connection", "the server is restarting", False),
        ("28P01", "Passwort-Authentifizierung", "the password or the user is wrong", True),
        ("3D000", "Datenbank existiert nicht", "create the database", True),
        ("55P03", "canceling statement due to lock timeout", "long transactions", False),
        ("XX000", "internal error", "see the server's log", False),
        (None, "FATAL:  the database system is starting up", "the server is restarting", False),
        (None, "FATAL:  sorry, too many clients already", "Put PgBouncer", False),
        (None, "FATAL:  no more connections allowed (max_client_conn)", "Put PgBouncer", False),
        (None, "server does not support SSL, but SSL was required", "TLS failed", True),
        (None, "SSL error: certificate verify failed", "TLS failed", True),
        (None, 'server certificate for "a" does not match host name "b"', "TLS failed", True),
        (None, "connection timeout expired", "the firewall", False),
        (None, 'server at "certificates.x" failed: Connection refused', "start the server", False),
        (None, 'could not translate host name "sslmode.x" to address', "check DNS", False),
        (None, "could not do it\nsecret", "see the server's log", False),
    ],
)
def test_causes(sqlstate, message, advice, is_misconfigured):
    """Each cause has its advice, and says whether waiting helps."""
    explainer = Explainer("postgresql://host/tokens", ["secret"])
    error = explainer.refused(sqlstate, message)
    assert advice in str(error)
    assert "secret" not in str(error)
    assert str(error).isprintable()
    assert error.is_misconfigured is is_misconfigured
