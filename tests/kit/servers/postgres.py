"""PostgreSQL on loopback, where passwords are access tokens. The user ``secure`` must use TLS.

It asks a RADIUS server for each new connection, and that asks whether the token is alive.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from kit.guards import PROGRAM_SECONDS
from kit.programs import Program, free_port, program
from kit.servers.radius import RadiusServer

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # of Debian
_SECRET = "shared"
_SETTINGS = {"fsync": "off", "listen_addresses": "127.0.0.1", "max_connections": "60", "ssl": "on"}
USER = "app"
SECURE_USER = "secure"
_SETUP = f"CREATE ROLE {USER} LOGIN; CREATE ROLE {SECURE_USER} LOGIN; CREATE DATABASE {USER};"


class PostgreSQL(Program):
    """A server with one database, ``app``.

    :ivar radius: the RADIUS server; assign to its ``accepts``.
    :ivar ca_file: the certificate of the authority that signed the server's.
    """

    def __init__(self, binary, folder, radius, **options):
        self.radius = radius
        self.ca_file = folder / "ca.pem"
        port = free_port()
        settings = {**_SETTINGS, "port": port, "unix_socket_directories": folder}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        super().__init__(
            binary, "-D", folder / "data", *arguments, port=port, folder=folder, **options
        )

    def url(self, scheme="postgresql", database=USER, user=USER):
        """Return the URL of a database, without a password."""
        return f"{scheme}://{user}@127.0.0.1:{self.port}/{database}"

    def _is_up(self):
        # It listens before it answers.
        return super()._is_up() and "ready to accept connections" in self.log.read_text()

    def stop(self):
        """End the server, and disconnect its clients."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # SIGTERM waits until the clients are gone
        super().stop()


@contextmanager
def running_postgres(rules="", setup=""):
    """Run a server in the block. No password is right until the test assigns ``accepts``.

    :param rules: more lines for ``pg_hba.conf``, after our own.
    :param setup: more SQL that the superuser runs, after our own.
    """
    initdb = program("initdb", *_BINARIES, package="postgresql")
    # PostgreSQL refuses to run as root, and its own user can't enter root's folders.
    identity = {"user": "postgres"} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="tokenkeeper-postgres-"))
    radius = RadiusServer(_SECRET, accepts=lambda password: False)
    try:
        if identity:
            shutil.chown(folder, "postgres")
        _create_cluster(initdb, folder, radius.port, identity, rules)
        with PostgreSQL(Path(initdb).with_name("postgres"), folder, radius, **identity) as server:
            run_sql(server, _SETUP + setup)
            yield server
    finally:
        radius.stop()
        shutil.rmtree(folder)


def _create_cluster(initdb, folder, radius_port, identity, more_rules):
    options = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(
        [initdb, "-D", folder / "data", *options],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=PROGRAM_SECONDS,
        **identity,
    )
    radius = f"radiusservers=127.0.0.1 radiussecrets={_SECRET} radiusports={radius_port}"
    rules = (
        "local all postgres trust\n"
        f"host all {USER} 127.0.0.1/32 radius {radius}\n"
        f"hostssl all {SECURE_USER} 127.0.0.1/32 radius {radius}\n"
    )
    (folder / "data" / "pg_hba.conf").write_text(rules + more_rules)
    _create_certificate(folder, identity)


def _create_certificate(folder, identity):
    """Put a certificate for 127.0.0.1, its key and its authority where they are looked for."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "data" / "server.crt")
    key = folder / "data" / "server.key"
    key.touch(mode=0o600)
    certificate.private_key_pem.write_to_path(key)
    if identity:
        shutil.chown(key, identity["user"])


def run_sql(server, sql, database="postgres"):
    """Run statements as the superuser, who needs no password at the socket.

    :return: the rows of the last one, if it has rows.
    """
    import psycopg

    folder = str(server.ca_file.parent)
    with psycopg.connect(
        host=folder, port=server.port, user="postgres", dbname=database, autocommit=True
    ) as connection:
        for statement in filter(str.strip, sql.split(";")):
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def postgres_server():
    """Return a server for all tests of a folder, whose conftest imports this."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server, server):
    """Return it; the tokens that the authorization server considers alive are right."""
    postgres_server.radius.accepts = server.is_alive
    return postgres_server
