"""The command, in this process and in a new one, with a server and a configuration file."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner
from kit.guards import OF_THE_LIBRARY, remove_variables

from tokenkeeper import __main__
from tokenkeeper.cli.group import cli
from tokenkeeper.testing import LoopbackAuthorizationServer

CONFIGURATION = """\
oauth2:
  - provider_name: billing
    provider_type: generic
    client_id: {server.client_id}
    client_secret: ${{BILLING_SECRET}}
    token_url: {server.token_url}
    scope: read
  - provider_name: wrong
    provider_type: generic
    client_id: {server.client_id}
    client_secret: ${{WRONG_SECRET}}
    token_url: {server.token_url}
"""


@pytest.fixture
def server():
    """Return a running server."""
    with LoopbackAuthorizationServer() as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    """Return a directory for stored tokens."""
    directory = tmp_path / "cache"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def age(cache):
    """Return a function that makes the stored tokens and failures older."""

    def age(seconds):
        with closing(sqlite3.connect(cache / "tokens.db")) as connection, connection:
            rows = connection.execute("SELECT key, sealed FROM records WHERE instr(sealed, '{')")
            for key, sealed in rows.fetchall():
                start, _, text = sealed.partition(b"{")
                content = json.loads(b"{" + text)
                for name in ("requested_at", "expires_at"):
                    content[name] -= seconds
                connection.execute(
                    "UPDATE records SET sealed = ?, sent_at = sent_at - ? WHERE key = ?",
                    (start + json.dumps(content).encode(), seconds, key),
                )
            connection.execute("UPDATE records SET failed_at = failed_at - ?", (seconds,))

    return age


@pytest.fixture
def config(tmp_path, server):
    """Return a configuration file with a client of the server, and one with a wrong secret."""
    file = tmp_path / "tokens.yaml"
    file.write_text(CONFIGURATION.format(server=server))
    return file


@pytest.fixture
def environment(monkeypatch, server, config, cache):
    """Set the variables of the command: the file, the cache and the secrets."""
    remove_variables(monkeypatch, *OF_THE_LIBRARY, "XDG_RUNTIME", "COLUMNS")
    variables = {
        "TOKENKEEPER_CONFIG": str(config),
        "TOKENKEEPER_CACHE_DIR": str(cache),
        "BILLING_SECRET": server.client_secret,
        "WRONG_SECRET": "hunter2",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def tokenkeeper(environment):
    """Return a function that runs the command in this process."""

    def run(*arguments):
        result = CliRunner().invoke(cli, arguments)
        assert "hunter2" not in result.output
        return result

    return run


@pytest.fixture
def start(environment):
    """Return a function that starts the command in a new process."""
    started = []

    def start(*arguments, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        command = [sys.executable, "-W", "error", "-m", "tokenkeeper", *arguments]
        process = subprocess.Popen(command, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def main():
    """Return the function of the console script, and restore signal handlers afterwards."""
    names = [each for each in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, each)]
    before = {number: signal.getsignal(number) for number in map(signal.Signals.__getitem__, names)}
    yield __main__.main
    for number, handler in before.items():
        signal.signal(number, handler)
    if (pipe := signal.set_wakeup_fd(-1)) != -1:
        os.close(pipe)  # which ends the thread that reads it
