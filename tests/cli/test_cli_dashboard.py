"""``tokenkeeper dashboard``: where it listens, what it shows, and how it ends."""

import re
import signal
import socket
import sys

import httpx
import pytest
from kit.stored import StoredFleet

from tokenkeeper.stores.sqlite import SQLiteTokenStore


@pytest.fixture
def store(tmp_path):
    """Return the URL of an SQLite store."""
    return f"sqlite:///{tmp_path / 'private' / 'tokens.db'}"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "localhost.evil"])
def test_other_hosts(tokenkeeper, store, host):
    """An address that is not loopback is refused, with the way to show it to others."""
    result = tokenkeeper("dashboard", "--store", store, "--host", host)
    assert result.exit_code == 2
    assert f"--host {host} is not a loopback address" in result.output
    assert "behind the login of your own application" in " ".join(result.output.split())


@pytest.mark.parametrize("name", ["uvicorn", "starlette"])
def test_without_the_extra(tokenkeeper, monkeypatch, store, name):
    """A missing library is a message that names the extra."""
    loaded = [each for each in sys.modules if each.startswith(("starlette", "tokenkeeper.dash"))]
    for each in loaded:
        monkeypatch.delitem(sys.modules, each)
    monkeypatch.setitem(sys.modules, name, None)
    result = tokenkeeper("dashboard", "--store", store)
    assert result.exit_code == 2
    assert 'pip install "tokenkeeper-oauth2[cli,dashboard]"' in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no store is configured. Set --store, TOKENKEEPER_STORE, or store:"),
        (["--key-file", "keys"], "--key-file needs --store"),
        (["--store", "redis//typo"], "store.url"),
        (["--store", "auto", "--key-file", "missing"], "key_file"),
    ],
)
def test_a_store_that_is_not_valid(tokenkeeper, arguments, message):
    """What is wrong with the store is reported before anything listens."""
    result = tokenkeeper("dashboard", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_a_port_that_is_taken(tokenkeeper, store):
    """A port that another program listens on is a message with a way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = tokenkeeper("dashboard", "--store", store, "--port", str(port))
    assert result.exit_code == 1
    assert f"can't listen on 127.0.0.1, port {port}" in result.output
    assert "Set --port to another one, or to 0" in result.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "configured"), [("SIGINT", 130, False), ("SIGTERM", 143, True)]
)
def test_a_run(start, environment, store, name, code, configured):
    """It prints its address, shows the store, answers for loopback only, and ends on a signal."""
    SQLiteTokenStore.from_url(store).read("a")  # the directory must exist for others to see it
    fleet = StoredFleet(SQLiteTokenStore.from_url(store))
    fleet.token("billing", granted_to="web-1:4711")
    environment.setenv("TOKENKEEPER_STORE", store)
    process = start("dashboard", "--port", "0", *([] if configured else ["--store", store]))
    line = process.stderr.readline()
    url = re.fullmatch(
        r"The dashboard is at (http://127\.0\.0\.1:\d+/)\. Press Ctrl-C to stop\.\n", line
    )[1]
    with httpx.Client(base_url=url) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "billing" in page.text
        assert "by web-1:4711" in page.text
        assert "server" not in page.headers
        for host in ("evil.example", "127.0.0.1.evil.example:80", "", "localhost.", "[::2]:1"):
            refused = client.get("/data.json", headers={"Host": host})
            assert refused.status_code == 421, host
            assert "billing" not in refused.text
        for host in ("localhost:9999", "LOCALHOST", "127.0.0.2", "[::1]:9999"):
            assert client.get("/", headers={"Host": host}).status_code == 200, host
        process.send_signal(getattr(signal, name))  # while a connection is open
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (code, "", "")
