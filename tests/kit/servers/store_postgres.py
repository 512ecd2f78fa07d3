"""PostgreSQL as a store: a server with a role that may create tables, and PgBouncer before it.

The user :data:`ROLE` owns the database of that name and needs no password. Its tables are made by
the store itself. ``locked`` has the password :data:`PASSWORD`, and may do nothing.
"""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from kit.programs import Program, free_port, program
from kit.servers.postgres import run_sql, running_postgres

ROLE = "fleet"
LOCKED_ROLE = "locked"
PASSWORD = "correct-horse-battery"

_RULES = f"""
host all {ROLE} 127.0.0.1/32 trust
host all {LOCKED_ROLE} 127.0.0.1/32 scram-sha-256
"""
_SETUP = f"""
CREATE ROLE {ROLE} LOGIN;
CREATE ROLE {LOCKED_ROLE} LOGIN PASSWORD '{PASSWORD}';
CREATE DATABASE {ROLE} OWNER {ROLE};
"""


@contextmanager
def running_store_postgres():
    """Run a server in the block."""
    with running_postgres(rules=_RULES, setup=_SETUP) as server:
        yield server


def store_url(server, table="", *, user=ROLE, database=ROLE, **parameters):
    """Return the URL of a store in a table of its own.

    :param parameters: more parameters of the URL.
    """
    given = {"table": table, **parameters} if table else parameters
    query = "&".join(f"{name}={value}" for name, value in given.items())
    return f"{server.url(user=user, database=database)}?{query}"


def as_superuser(server, sql):
    """Run statements in the database of the store, and return the rows of the last one."""
    return run_sql(server, sql, database=ROLE)


def sessions(server, name):
    """Return the server processes of connections with *name* as their ``application_name``."""
    found = f"SELECT pid FROM pg_stat_activity WHERE application_name = '{name}'"
    return [pid for (pid,) in as_superuser(server, found)]


@contextmanager
def running_pgbouncer(server, mode="transaction"):
    """Run PgBouncer in the block, with few connections to *server*.

    :param mode: what it does between two transactions or statements of a client.
    """
    binary = program("pgbouncer", "/usr/sbin", package="pgbouncer")
    identity = {"user": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="tokenkeeper-pgbouncer-"))
    port = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        "[databases]\n"
        f"{ROLE} = host=127.0.0.1 port={server.port} user={ROLE}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = {mode}\ndefault_pool_size = 2\n"
    )
    if identity:
        for path in (folder, settings):
            shutil.chown(path, "postgres")
    try:
        with Program(binary, settings, port=port, folder=folder, **identity) as bouncer:
            yield bouncer
    finally:
        shutil.rmtree(folder)
