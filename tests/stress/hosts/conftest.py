"""Programs of others that run our code: each is really started, and stopped by a signal."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from kit.guards import (
    GUARD_SECONDS,
)
from kit.servers.authlib_on_flask import AuthlibOnFlask

HERE = Path(__file__).parent
LIFETIME = 3


class Program:
    """A running program in this directory, whose output goes to a file.

    :param settings: its environment variables.
    """

    def __init__(self, log, *command, pass_fds=(), **settings):
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=HERE,
                env={**os.environ, "PYTHONFAULTHANDLER": "1", **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
            )

    def output(self):
        """Return everything that it has printed."""
        return self.log.read_text()

    def stop(self):
        """Ask it to exit, as a service manager does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler shows where it hangs
            self.process.wait(GUARD_SECONDS)
        pytest.fail(f"it did not end:\n{self.output()}")

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def server():
    """Return an authorization server with an API; its client "worker" has tokens of 3 seconds."""
    with AuthlibOnFlask(lifetime_seconds=LIFETIME) as server:
        yield server


@pytest.fixture
def start(tmp_path, server):
    """Return a function that starts programs with the server's URL, and stops them at the end."""
    with ExitStack() as stack:

        def start(*command, **options):
            settings = {"TOKEN_URL": server.token_endpoint, "API_URL": server.issuer + "/resource"}
            log = tmp_path / f"{len(list(tmp_path.iterdir()))}.log"
            return stack.enter_context(Program(log, *command, **settings, **options))

        yield start


@pytest.fixture
def most_requests():
    """Return the most token requests that processes may make: one for each renewal that is due."""

    def most(processes, seconds):
        earliest = (LIFETIME - LIFETIME / 20 - 1) / 2  # see tokenkeeper/schedule.py
        return processes * (1 + int(seconds / earliest))

    return most
