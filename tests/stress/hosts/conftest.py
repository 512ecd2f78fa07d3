"""Programs that others wrote and that run our code: each started for real, and ended by signal."""

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from servers.authlib_on_flask import AuthlibOnFlask

HERE = Path(__file__).parent
STOP_SECONDS = 30
LIFETIME = 3


class Program:
    """A program under way, in this folder, with what it says in a file.

    :param settings: what it finds in its environment.
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

    def said(self):
        """Return all that it has printed."""
        return self.log.read_text()

    def stop(self):
        """Ask it to end, as a service manager does; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)  # faulthandler shows where it hangs
            self.process.wait(STOP_SECONDS)
        pytest.fail(f"it did not end:\n{self.said()}")

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Let no proxy of the machine stand between anybody and loopback."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server():
    """Return an authorization server with an API; its client "worker" has tokens of 3 seconds."""
    with AuthlibOnFlask(lifetime_seconds=LIFETIME) as server:
        yield server


@pytest.fixture
def start(tmp_path, server):
    """Start programs that find the server in their environment, and end with the test."""
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
