"""What PostgreSQL's errors mean for a store, and what to do about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.oauth.redaction import sanitize

__all__ = ["Explainer"]


@dataclass(frozen=True)
class _Cause:
    """A kind of failure: how it is recognized, and the advice.

    :ivar codes: its SQLSTATEs.
    :ivar pattern: how it is described. libpq passes no code on for a connection that failed.
    :ivar is_final: whether something must be changed, so that waiting does not help.
    """

    codes: tuple[str, ...]
    pattern: str
    advice: str
    is_final: bool = False


_CAUSES = (
    _Cause(
        ("28P01",),
        r"password authentication failed|no password supplied|authentication failed|SASL",
        "the password or the user is wrong. Correct it in the URL, PGPASSWORD or the password file",
        True,
    ),
    _Cause(
        ("28000",),
        r"no pg_hba\.conf entry|role .* does not exist|is not permitted to log in",
        "the server does not let this user in. Check the user, pg_hba.conf, and whether it wants "
        "TLS (sslmode=verify-full)",
        True,
    ),
    _Cause(
        ("3D000",),
        r"database .* does not exist|no such database",
        "create the database, or correct its name in the URL",
        True,
    ),
    _Cause(
        ("53300",),
        r"too many (clients|connections)|remaining connection slots|no more connections allowed",
        "the server has too many connections. Put PgBouncer in front of it, or raise "
        "max_connections",
    ),
    _Cause(
        (),
        r"does not support SSL|certificate|SSL error|sslmode|sslrootcert",
        "TLS failed. Check sslmode, sslrootcert, and that the certificate names this host",
        True,
    ),
    _Cause(
        ("57P01", "57P02", "57P03"),
        r"starting up|shutting down|recovery mode|administrator command",
        "the server is restarting. If this persists, look into its log",
    ),
    _Cause(
        (),
        r"could not translate host name|resolve host|Name or service not known",
        "correct the host in the URL, or check DNS",
    ),
    _Cause(
        (),
        r"refused|No such file or directory|unreachable|No route",
        "start the server, or correct host and port in the URL",
    ),
    _Cause((), r"time(d )?out", "check the network, the firewall, and the server's load"),
    _Cause(("53100",), r"No space left", "the server's disk is full. Make room on it"),
    _Cause(
        ("25006",),
        r"read-only",
        "this server is a replica or is read-only. Connect to the primary, for example with all "
        "hosts and target_session_attrs=read-write",
    ),
    _Cause(
        ("55P03", "57014", "40001", "40P01"),
        r"lock timeout",
        "another session holds the row, or the server's own timeouts are short. Look for long "
        "transactions in pg_stat_activity",
    ),
)

_OTHER = "see the server's log"


class Explainer:
    """Makes errors for one store. Immutable.

    :param label: the store's URL without a secret.
    :param secrets: what must not be shown.
    """

    def __init__(self, label: str, secrets: Sequence[str] = ()) -> None:
        self._label = label
        self._secrets = tuple(secrets)

    def connecting(self, error: BaseException) -> StoreUnavailableError:
        """Return the error for a connection that could not be opened."""
        return self._made(
            f"can't connect to {self._label}", getattr(error, "sqlstate", None), error
        )

    def refused(self, sqlstate: str, message: object) -> StoreUnavailableError:
        """Return the error for a statement that the server refused."""
        return self._made(f"{self._label} refused", sqlstate, message)

    def lost(self, message: object) -> StoreUnavailableError:
        """Return the error for a connection that ended, twice."""
        return self._made(f"the connection to {self._label} was lost", None, message)

    def timed_out(self, seconds: float) -> StoreUnavailableError:
        """Return the error for an operation without an answer."""
        return StoreUnavailableError(
            f"{self._label} did not answer within {seconds:g} s: check the server's load, its "
            "locks, and the network"
        )

    def not_permitted(self, message: object, grant: str) -> StoreUnavailableError:
        """Return the error for a missing permission."""
        return StoreUnavailableError(
            f"{self._label} refused ({self._plain(message)}). As the table's owner, run: {grant}",
            is_misconfigured=True,
        )

    def no_table(self, message: object, setup: str) -> StoreUnavailableError:
        """Return the error for a table that is missing, and that this user must not create."""
        return StoreUnavailableError(
            f"{self._label} has no table for the store, and refused to create it "
            f"({self._plain(message)}). As an administrator, run: {setup}",
            is_misconfigured=True,
        )

    def other_table(self, table: str, columns: Sequence[str], known: int) -> StoreUnavailableError:
        """Return the error for a table that this version can't use."""
        found = [match[1] for each in columns if (match := re.fullmatch(r"schema_(\d+)", each))]
        version = int(found[0]) if found else None
        if version is None or version == known:
            what = (
                "is not a table of Tokenkeeper. It was left alone: choose another name with "
                "?table=schema.name"
            )
        elif version > known:
            what = (
                f"has schema {version}, but this version of Tokenkeeper knows {known}. Upgrade it "
                "in this process, or choose another table with ?table=schema.name"
            )
        else:
            what = (
                f"has the old schema {version}. It contains only what can be requested again, "
                "unless it has refresh tokens: see the release notes, or choose another table "
                "with ?table=schema.name"
            )
        return StoreUnavailableError(f"{self._label}: {table} {what}", is_misconfigured=True)

    def _made(self, what: str, sqlstate: str | None, message: object) -> StoreUnavailableError:
        text = self._plain(message)
        cause = _cause_of(sqlstate, text)
        code = f"{sqlstate} " if sqlstate else ""
        advice = cause.advice if cause else _OTHER
        return StoreUnavailableError(
            f"{what} ({code}{text}): {advice}", is_misconfigured=bool(cause and cause.is_final)
        )

    def _plain(self, message: object) -> str:
        return sanitize(message, self._secrets, limit=240).rstrip(".")


def _cause_of(sqlstate: str | None, text: str) -> _Cause | None:
    for cause in _CAUSES:
        if sqlstate in cause.codes:
            return cause
    if sqlstate:
        return None
    text = re.sub(r'(server at|translate host name) "[^"]*"', r"\1", text)  # which may be any word
    return next((each for each in _CAUSES if re.search(each.pattern, text, re.IGNORECASE)), None)
