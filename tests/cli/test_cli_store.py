"""Tokens that are stored between runs: for which client, how long, and how safely."""

import errno
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from filelock import FileLock

from tokenkeeper import (
    ConfigurationWarning,
    InvalidConfigurationError,
    OAuth2Token,
    TokenAcquisitionError,
)
from tokenkeeper.cli.store import StoredToken, TokenDirectory
from tokenkeeper.cli.stored_provider import StoredTokenProvider
from tokenkeeper.clock import instant
from tokenkeeper.testing import MockProvider, SteppedClock


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def source(clock):
    return MockProvider("api", clock=clock)


@pytest.fixture
def store(tmp_path):
    return TokenDirectory(tmp_path / "store")


@pytest.fixture
def run(store, source, clock):
    """Return a function that makes the provider as each run of the command does."""

    def run(identity="an identity", **options):
        return StoredTokenProvider(source, store, lambda: identity, clock=clock, **options)

    return run


class TestReuse:
    """A fresh token is used again."""

    def test_while_it_is_fresh(self, run, source, clock):
        """Runs share a token until it is due for renewal."""
        first = run().acquire_token()
        clock.step(3600 - 300 - 61)
        assert run().acquire_token() == first
        clock.step(1)
        assert run().acquire_token() != first
        assert source.calls == 2

    def test_in_the_buffer_while_the_server_is_down(self, run, source, clock):
        """A failed renewal is not an error while the stored token is valid."""
        first = run().acquire_token()
        clock.step(3400)
        source.script.append(TokenAcquisitionError("down", status_code=503))
        assert run().acquire_token() == first
        clock.step(195)  # its margin
        source.script.append(TokenAcquisitionError("down", status_code=503))
        with pytest.raises(TokenAcquisitionError):
            run().acquire_token()

    def test_forced(self, run, source):
        """Force asks the server, and the new token is stored."""
        first = run().acquire_token()
        second = run(force=True).acquire_token()
        assert second != first
        assert run().acquire_token() == second

    def test_refresh(self, run, source):
        """A renewal uses a token that another process stored, and requests one otherwise."""
        one, other = run(), run()
        token = one.acquire_token()
        renewed = one.refresh_token(token)
        assert other.refresh_token(token) == renewed
        assert source.calls == 2

    @pytest.mark.parametrize("seconds", [-3000.0, -2.0, 2.0, 3000.0])
    def test_a_stepped_wall_clock(self, run, source, clock, seconds):
        """Clocks that disagree about a token's age cost a request."""
        run().acquire_token()
        clock.step_wall(seconds)
        run().acquire_token()
        assert source.calls == 2

    def test_another_boot(self, run, source):
        """A restarted clock costs a request."""
        token = run().acquire_token()
        rebooted = SteppedClock(wall=token.expires_at.timestamp() - 3590, monotonic=5.0)
        assert (
            StoredTokenProvider(source, run()._store, lambda: "an identity", clock=rebooted).peek()
            is None
        )

    def test_while_another_process_asks(self, run, store):
        """A fresh token is returned at once while another process holds the lock."""
        first = run().acquire_token()
        with ThreadPoolExecutor(1) as pool, store.lock("an identity"):
            assert pool.submit(run().acquire_token).result(timeout=30) == first

    def test_it_ends_while_the_server_is_asked(self, run, source, clock):
        """A token that expires during a long request is not returned."""
        run().acquire_token()
        clock.step(3580)
        source.acquire_token = lambda: clock.step(30) or _raise(TokenAcquisitionError("down"))
        with pytest.raises(TokenAcquisitionError, match="down"):
            run().acquire_token()

    def test_a_registration_that_changes_meanwhile(self, source, store, clock):
        """A token is stored for the identity that it was granted to, even after a reload."""
        secrets = ["old"]
        provider = StoredTokenProvider(source, store, lambda: secrets[-1], clock=clock)
        acquire = source.acquire_token
        source.acquire_token = lambda: secrets.append("new") or acquire()
        token = provider.acquire_token()
        assert store.read("old") is None
        assert store.read("new").token == token

    def test_identities_do_not_share(self, run, source):
        """A token is only used for the same request of the same client."""
        run().acquire_token()
        assert run("another identity").peek() is None

    def test_without_a_shelf(self, source, clock):
        """Without a directory each run requests a token."""
        for _ in range(2):
            StoredTokenProvider(source, None, lambda: "an identity", clock=clock).acquire_token()
        assert source.calls == 2


class TestFiles:
    """Files of stored tokens."""

    def test_only_the_owner_can_read_them(self, run, store):
        """Only the owner can read the directory and its files."""
        run().acquire_token()
        assert store.directory.stat().st_mode & 0o777 == 0o700
        files = list(store.directory.iterdir())
        assert len(files) == 3  # and the lock, and the key of the names
        assert all(file.stat().st_mode & 0o077 == 0 for file in files)

    def test_no_refresh_token_and_no_secret(self, store, clock):
        """Files contain no refresh token, and their names reveal nothing."""
        expiry = datetime.fromtimestamp(clock.time(), UTC) + timedelta(hours=1)
        token = OAuth2Token("abc", "Bearer", expiry, "read", refresh_token="precious")
        store.write("an identity with hunter2", StoredToken(token, instant(clock)))
        (file,) = store.directory.glob("*.json")
        assert "precious" not in file.read_text()
        assert "hunter2" not in file.name + file.read_text()
        stored = store.read("an identity with hunter2")
        assert stored.token.access_token == "abc"
        assert "abc" not in repr(stored)

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"{}",
            b"\xff\xfe",
            b'{"asked": [1, 2]}',
            b"9" * 9999,
            b"[" * 200_000,
        ],
    )
    def test_garbage(self, run, source, store, content):
        """An invalid file is ignored and replaced."""
        run().acquire_token()
        store.file("an identity").write_bytes(content)
        token = run().acquire_token()
        assert source.calls == 2
        assert run().acquire_token() == token

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("expires_at", "2030-01-01T00:00:00"),
            ("expires_at", 7),
            ("access_token", ""),
            ("access_token", None),
            ("asked", [1e400, 1]),
            ("asked", ["x", "y"]),
            ("extra", 1),
        ],
    )
    def test_odd_values(self, run, source, store, key, value):
        """A file with an invalid value is ignored as well."""
        run().acquire_token()
        file = store.file("an identity")
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
        run().acquire_token()
        assert source.calls == 2

    @pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o770])
    def test_a_directory_that_others_may_use(self, tmp_path, mode):
        """A directory that others can read or write is rejected."""
        directory = tmp_path / "open"
        directory.mkdir()
        directory.chmod(mode)
        with pytest.raises(InvalidConfigurationError, match="chmod 700") as caught:
            TokenDirectory(directory)
        assert caught.value.field == "cache"

    def test_a_directory_that_is_everybodys(self, tmp_path):
        """The advice for /tmp is a new directory, not a change of its mode."""
        tmp_path.chmod(0o1777)
        with pytest.raises(InvalidConfigurationError, match="mkdir -m 700") as caught:
            TokenDirectory(tmp_path)
        assert "chmod" not in str(caught.value)

    def test_no_directory(self, tmp_path):
        """A link, a file or a missing parent is rejected with a clear message."""
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(tmp_path / "real")
        (tmp_path / "file").write_text("")
        for name in ("link", "file", "gone/store"):
            with pytest.raises(InvalidConfigurationError, match="can't store tokens"):
                TokenDirectory(tmp_path / name)

    def test_a_full_disk(self, run, store, monkeypatch):
        """A token that can't be stored is returned with a warning."""

        def write(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(TokenDirectory, "write", write)
        with pytest.warns(
            ConfigurationWarning, match="could not be stored for the next run: No space"
        ):
            assert run().acquire_token().access_token == "api-token-1"

    def test_no_lock(self, run, source, store):
        """Without a lock no request is made, and the error names the directory."""
        store.file("an identity").with_suffix(".lock").mkdir()
        with pytest.raises(InvalidConfigurationError, match="can't store tokens: Is a directory"):
            run().acquire_token()
        assert source.calls == 0

    def test_a_failure(self, run, source, store):
        """The reason of a failure is stored, for the owner only, until a request succeeds."""
        source.script.append(TokenAcquisitionError("down", status_code=503))
        with pytest.raises(TokenAcquisitionError):
            run().acquire_token()
        assert run().last_failure().error == "down"
        assert run("another identity").last_failure() is None
        assert all(file.stat().st_mode & 0o077 == 0 for file in store.directory.iterdir())
        run().acquire_token()
        assert run().last_failure() is None

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"null", b"{}", b"\xff", b'{"error": "e", "failed_at": 7}']
    )
    def test_a_failure_that_can_not_be_read(self, run, store, content):
        """A damaged failure file is ignored."""
        store.file("an identity").with_suffix(".failure").write_bytes(content)
        assert run().last_failure() is None

    def test_a_failure_on_a_full_disk(self, run, source, store, monkeypatch):
        """If a failure can't be stored, it is raised as usual."""
        monkeypatch.setattr(
            TokenDirectory, "note", lambda *_: _raise(OSError(errno.ENOSPC, "full"))
        )
        source.script.append(TokenAcquisitionError("down", status_code=503))
        with pytest.raises(TokenAcquisitionError, match="down"):
            run().acquire_token()

    def test_halves_are_cleared(self, run, store):
        """Clearing everything also removes unfinished files, which are not counted."""
        run().acquire_token()
        half = store.directory / "abc.new"
        half.write_text("half a token")
        assert store.forget("an identity") == 1
        assert half.exists()
        assert store.forget() == 0
        assert not half.exists()

    def test_what_can_not_be_cleared(self, store):
        """A file that can't be removed is a clear error."""
        store.file("an identity").mkdir()
        with pytest.raises(InvalidConfigurationError, match="can't store tokens"):
            store.forget()

    def test_a_write_that_fails_leaves_nothing(self, store, clock, monkeypatch):
        """A failed write leaves no file."""
        expiry = datetime.fromtimestamp(clock.time(), UTC) + timedelta(hours=1)
        stored = StoredToken(OAuth2Token("abc", "Bearer", expiry), instant(clock))
        monkeypatch.setattr(StoredToken, "to_json", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.write("an identity", stored)
        assert [file.name for file in store.directory.iterdir()] == ["key"]


REPORTS_ITS_WAIT = """
import os
from pathlib import Path

import filelock

place = Path(os.environ["WAITING"])
acquire = filelock.FileLock.acquire


def report_and_acquire(self, *arguments, **options):
    (place / str(os.getpid())).touch()
    return acquire(self, *arguments, **options)


filelock.FileLock.acquire = report_and_acquire
"""


@pytest.mark.slow
def test_many_processes_make_one_request(start, tokenkeeper, cache, server, tmp_path, environment):
    """Eight commands that meet at the lock make one request and print the same token."""
    tokenkeeper("get", "billing")
    (lock,) = cache.glob("*.lock")
    for stored in cache.glob("*.json"):
        stored.unlink()
    waiting, startup = tmp_path / "waiting", tmp_path / "startup"
    waiting.mkdir()
    startup.mkdir()
    (startup / "sitecustomize.py").write_text(REPORTS_ITS_WAIT)
    environment.setenv("WAITING", str(waiting))
    environment.setenv("PYTHONPATH", str(startup))
    with FileLock(lock):
        processes = [start("get", "billing") for _ in range(8)]
        ends = time.monotonic() + 100
        while {int(each.name) for each in waiting.iterdir()} != {each.pid for each in processes}:
            assert time.monotonic() < ends, "they do not reach the lock"
            assert all(each.poll() is None for each in processes), "one did not wait"
            time.sleep(0.01)
        assert server.stats().token_requests == 1, "one sent a request without the lock"
    outputs = [process.communicate(timeout=100) for process in processes]
    assert {messages for _, messages in outputs} == {""}
    assert len({token for token, _ in outputs}) == 1
    assert server.stats().token_requests == 2


def test_another_secret_is_the_same_client(tokenkeeper, environment, server):
    """A rotated secret keeps the client's token; --force finds out that a secret is wrong."""
    first = tokenkeeper("get", "billing").stdout
    environment.setenv("BILLING_SECRET", "hunter2")
    assert tokenkeeper("get", "billing").stdout == first
    assert tokenkeeper("get", "billing", "--force").exit_code == 1
    assert server.stats().token_requests == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("scope: read", "scope: write"),
        ("scope: read", "scope: read\n    additional_params: {audience: b}"),
        ("{token_url}", "{token_url}?tenant=b"),
    ],
)
def test_another_request_is_another_token(tokenkeeper, config, server, old, new):
    """A changed configuration never gets the token of the previous one."""
    tokenkeeper("get", "billing")
    old, new = old.format(token_url=server.token_url), new.replace("{token_url}", server.token_url)
    text = config.read_text()
    config.write_text(text.replace(old, new, 1))
    assert config.read_text() != text
    tokenkeeper("get", "billing")
    assert server.stats().token_requests == 2


def test_the_runtime_directory(tokenkeeper, environment, tmp_path, server):
    """By default tokens are stored in the user's runtime directory."""
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    environment.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for _ in range(2):
        tokenkeeper("get", "billing")
    assert server.stats().token_requests == 1
    assert (tmp_path / "tokenkeeper").stat().st_mode & 0o777 == 0o700


def _raise(error):
    raise error


@pytest.mark.parametrize("runtime", ["", "relative", "/nowhere/at/all", __file__])
def test_a_runtime_directory_that_is_none(tokenkeeper, environment, tmp_path, server, runtime):
    """A relative path, or one that is not a directory, is ignored."""
    environment.chdir(tmp_path)
    (tmp_path / "relative").mkdir()
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    environment.setenv("XDG_RUNTIME_DIR", runtime)
    for _ in range(2):
        assert tokenkeeper("get", "billing").exit_code == 0
    assert server.stats().token_requests == 2
    assert not list((tmp_path / "relative").iterdir())


@pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
def test_the_runtime_directory_of_another_user(tokenkeeper, environment, tmp_path):
    """After sudo or su, nothing is created in the other user's runtime directory."""
    runtime = tmp_path / "run"
    runtime.mkdir()
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    environment.setenv("XDG_RUNTIME_DIR", str(runtime))
    environment.setattr(os, "geteuid", lambda: runtime.stat().st_uid + 1)
    assert tokenkeeper("get", "billing").exit_code == 0
    assert not list(runtime.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o722])
def test_an_open_runtime_directory(tokenkeeper, environment, tmp_path, server, mode):
    """A runtime directory that others can write is not used, with one warning."""
    runtime = tmp_path / "run"
    runtime.mkdir()
    runtime.chmod(mode)
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    environment.setenv("XDG_RUNTIME_DIR", str(runtime))
    environment.setattr("tokenkeeper.cli.source._reported", set())
    result = tokenkeeper("status", "--fetch")
    assert result.stderr.count("XDG_RUNTIME_DIR is not used") == 1
    assert f"chmod 700 {runtime}" in result.stderr
    assert tokenkeeper("get", "billing").exit_code == 0
    assert not list(runtime.iterdir())


def test_a_cache_that_others_may_read(tokenkeeper, cache):
    """A cache that others can read is rejected with the exit code of a configuration error."""
    os.chmod(cache, 0o755)
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "chmod 700" in result.stderr
