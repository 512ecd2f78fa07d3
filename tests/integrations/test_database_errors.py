"""Which errors of database drivers say that a password was rejected."""

import pytest

from tokenkeeper.integrations._databases import rejects_password


def error(*args, **attributes):
    """Return an exception with these attributes."""
    raised = Exception(*args)
    vars(raised).update(attributes)
    return raised


REJECTED = 'connection to server at "127.0.0.1", port 5432 failed: FATAL:  {} failed for user "app"'

REJECTIONS = {
    "asyncpg, password": error("password authentication failed", sqlstate="28P01"),
    "asyncpg, RADIUS": error("RADIUS authentication failed", sqlstate="28000"),
    "asyncpg, German": error("Passwort-Authentifizierung fehlgeschlagen", sqlstate="28P01"),
    "psycopg": error("connection failed: " + REJECTED.format("RADIUS authentication")),
    "psycopg2": error(REJECTED.format("PAM authentication") + "\n", pgcode=None),
    "psycopg2, password": error(REJECTED.format("password authentication")),
    "Azure": error("FATAL:  The access token has expired. Please acquire a new token and retry."),
    "pg8000": error({"S": "FATAL", "C": "28P01", "M": "password authentication failed"}),
    "PyMySQL": error(1045, "Access denied for user 'app'@'localhost' (using password: YES)"),
    "mysql-connector-python": error("1045 (28000): Access denied", errno=1045, sqlstate="28000"),
    "pyodbc": error("28000", "[28000] Login failed for user 'app'. (18456) (SQLDriverConnect)"),
}

OTHERS = {
    "psycopg, missing database": error('FATAL:  database "app" does not exist'),
    "psycopg, starting": error("FATAL:  the database system is starting up"),
    "psycopg, full": error("FATAL:  sorry, too many clients already"),
    "psycopg, no rule": error('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "app"'),
    "asyncpg, missing database": error("authentication failed", sqlstate="3D000"),
    "pg8000, full": error({"S": "FATAL", "C": "53300", "M": "sorry, too many clients already"}),
    "PyMySQL, missing database": error(1049, "Unknown database 'app'"),
    "PyMySQL, down": error(2003, "Can't connect to MySQL server on 'localhost'"),
    "mysql-connector-python, down": error("2003: Can't connect", errno=2003, sqlstate=None),
    "refused": ConnectionRefusedError(111, "Connection refused"),
    "timeout": TimeoutError(),
    "pyodbc, down": error("08001", "[08001] TCP Provider: Error code 0x2AF9"),
}


@pytest.mark.parametrize("raised", REJECTIONS.values(), ids=REJECTIONS)
def test_rejections(raised):
    """A rejected password is noticed by the SQLSTATE, the number or the text that a driver has."""
    assert rejects_password(raised)


@pytest.mark.parametrize("raised", OTHERS.values(), ids=OTHERS)
def test_other_errors(raised):
    """An error for another reason is not taken for a rejection."""
    assert not rejects_password(raised)
