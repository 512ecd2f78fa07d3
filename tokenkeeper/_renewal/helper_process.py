"""Starts a helper process that outlives this one, and reads what it answers."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import IO, cast

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["HelperProcess", "interpreter"]

# Before it imports anything else, it ignores the signals that end a service, and leaves its parent:
# so no zombie stays, and no supervisor takes it for a worker. -P: the current directory is not on
# the path, and then the path is that of the process that started it.
_BEGIN = """
import os, signal, sys
for name in ("SIGHUP", "SIGINT", "SIGTERM"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
if os.fork():
    os._exit(0)
import json
sys.path[:] = json.loads(sys.stdin.buffer.readline())
from tokenkeeper._renewal.detached_main import main
main()
"""

CLOSE_SECONDS = 20.0
"""How long the process that starts the helper may take to end. Most take 0.02 s."""

_POLL_MILLISECONDS = 250
"""How often a reader looks whether its time is over. It also wakes up for signals."""


def interpreter() -> str:
    """Return the path of the Python interpreter that runs this program.

    ``sys.executable`` is another program where Python is embedded, as in uWSGI.

    :raises InvalidConfigurationError: if there is none: on Windows, or in a frozen program.
    """
    if getattr(sys, "frozen", False) or not hasattr(os, "fork"):
        raise _no_helper("this program has no Python interpreter of its own that it could start")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    scripts = Path(sysconfig.get_path("scripts"))
    for path in (Path(sys.executable or "/"), scripts / version, scripts / "python3"):
        if path.name.startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return str(path)
    raise _no_helper(f"there is no Python interpreter in {scripts}")


def _no_helper(why: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(
        f"store.detached is true, which needs a helper process, but {why}. Set detached: false.",
        field="store.detached",
    )


class HelperProcess:
    """A helper in a session of its own. Used by one thread.

    :param job: written to its standard input, behind the module search path.
    :raises OSError: if it can't be started.
    """

    def __init__(self, job: bytes) -> None:
        process = subprocess.Popen(  # noqa: S603 - the interpreter that runs this
            [interpreter(), "-P", "-c", _BEGIN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        self._process = process
        self._pipes = cast("list[IO[bytes]]", [process.stdin, process.stdout])
        self._input, self._output = (pipe.fileno() for pipe in self._pipes)
        self._buffer = b""
        self._job = json.dumps([os.path.abspath(each) for each in sys.path]).encode() + b"\n" + job

    def hand_over(self) -> None:
        """Write the job. The helper may make the request from its last byte on.

        :raises OSError: if the helper ended before it read all of it.
        """
        rest = memoryview(self._job)
        while rest:
            rest = rest[os.write(self._input, rest) :]

    def read(self, count: int, ends_at: float) -> bytes:
        """Return the next *count* bytes of its output, or fewer if it ended or the time is over.

        :param ends_at: when to give up, on the machine's monotonic clock.
        """
        while len(self._buffer) < count:
            piece = self._piece(ends_at)
            if not piece:
                break
            self._buffer += piece
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    def _piece(self, ends_at: float) -> bytes:
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        while SYSTEM_CLOCK.monotonic() < ends_at:
            if poll.poll(_POLL_MILLISECONDS):
                return os.read(self._output, 65536)
        return b""

    def close(self) -> None:
        """Close the pipes. The helper goes on."""
        for pipe in self._pipes:
            pipe.close()
        with suppress(subprocess.TimeoutExpired):  # it left the helper behind, and ended
            self._process.wait(CLOSE_SECONDS)
