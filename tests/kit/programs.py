"""Servers of Debian packages and wheels: found, started on loopback, and stopped.

A machine without a program skips the tests that need it, and says so. If ``CI`` or
``TOKENKEEPER_INTEROP=all`` is set, those tests fail instead.
"""

import os
import shutil
import socket
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest

from kit.guards import PROGRAM_SECONDS, until

STOP_SECONDS = 20.0

PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to sockets that ask for any."""

PORTS_OF_A_PROCESS = 61
"""Processes whose ids are close to each other get ports that are this far apart."""


def must_have_all():
    """Return whether a missing program is a failure."""
    return bool(os.environ.get("CI")) or os.environ.get("TOKENKEEPER_INTEROP") == "all"


def unavailable(reason):
    """Skip the test, or fail it where nothing may be missing."""
    (pytest.fail if must_have_all() else pytest.skip)(reason)


def program(name, *folders, package):
    """Return the path of a program, which is looked for in *folders* too.

    :param package: the Debian package or wheel that has it.
    """
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=path) or unavailable(f"{name} is missing: install {package}")


def free_port():
    """Return a port on loopback for a program that must be given one.

    Nothing listens there now. The program may take seconds to do so. Meanwhile the kernel gives the
    port to no one, and no other process of the tests looks there.
    """
    while True:
        port = next(_ports)
        with closing(socket.socket()) as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def _ports_of_this_process():
    number = 0
    while True:
        # The process is asked for each time: forked children share the generator's past.
        yield PORTS[(os.getpid() * PORTS_OF_A_PROCESS + number) % len(PORTS)]
        number += 1


_ports = _ports_of_this_process()


def accepts(port):
    """Return whether something accepts connections at *port*."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Program:
    """A server that runs in the foreground until the block ends, with its output in a file.

    :ivar port: the port that it listens on. It has started once it accepts connections there.
    :param folder: where it runs, and where its output goes.
    :param options: those of :class:`subprocess.Popen`, such as ``env`` and ``user``.
    """

    def __init__(self, *command, port, folder, **options):
        self.port = port
        self.log = Path(folder) / f"{Path(command[0]).name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **options,
            )
        try:
            until(self._is_up, self._what, limit=PROGRAM_SECONDS, pause=0.05)
        except BaseException:
            self.stop()
            raise

    def _is_up(self):
        assert self.process.poll() is None, self._what()
        return accepts(self.port)

    def _what(self):
        return f"{self.log.name}:\n{self.log.read_text(errors='replace')[-2000:]}"

    def stop(self):
        """End the server, and wait for its exit."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()
