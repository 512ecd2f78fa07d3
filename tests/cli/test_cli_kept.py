"""Tokens that are kept between two runs: for whom, for how long, and how safely."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from tokenkeeper import InvalidConfigurationError, OAuth2Token, TokenAcquisitionError
from tokenkeeper.cli.kept import Kept, KeptProvider, Shelf
from tokenkeeper.clock import instant
from tokenkeeper.testing import MockProvider, SteppedClock


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def source(clock):
    return MockProvider("api", clock=clock)


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "kept")


@pytest.fixture
def run(shelf, source, clock):
    """Return a provider as each run of the command makes one."""

    def run(identity="an identity", **options):
        return KeptProvider(source, shelf, identity, clock=clock, **options)

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
        """A renewal that fails is nobody's error while the kept token works."""
        first = run().acquire_token()
        clock.step(3400)
        source.script.append(TokenAcquisitionError("down", status_code=503))
        assert run().acquire_token() == first
        clock.step(195)  # its margin
        source.script.append(TokenAcquisitionError("down", status_code=503))
        with pytest.raises(TokenAcquisitionError):
            run().acquire_token()

    def test_forced(self, run, source):
        """Force asks the server, and what it grants is kept."""
        first = run().acquire_token()
        second = run(force=True).acquire_token()
        assert second != first
        assert run().acquire_token() == second

    def test_refresh(self, run, source):
        """A renewal takes what another process put there, and asks if it is the same."""
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
        """A clock that began anew costs a request."""
        token = run().acquire_token()
        rebooted = SteppedClock(wall=token.expires_at.timestamp() - 3590, monotonic=5.0)
        assert KeptProvider(source, run()._shelf, "an identity", clock=rebooted).peek() is None

    def test_identities_do_not_share(self, run, source):
        """A token is only for who would make the same request."""
        run().acquire_token()
        assert run("another identity").peek() is None

    def test_without_a_shelf(self, source, clock):
        """Without a directory each run asks."""
        for _ in range(2):
            KeptProvider(source, None, "an identity", clock=clock).acquire_token()
        assert source.calls == 2


class TestFiles:
    """Files of kept tokens."""

    def test_only_the_owner_can_read_them(self, run, shelf):
        """Directory and files are the owner's alone."""
        run().acquire_token()
        assert shelf.directory.stat().st_mode & 0o777 == 0o700
        files = list(shelf.directory.iterdir())
        assert len(files) == 2  # and the lock
        assert all(file.stat().st_mode & 0o077 == 0 for file in files)

    def test_no_refresh_token_and_no_secret(self, shelf, clock):
        """A refresh token does not outlive the run, and names of files tell nothing."""
        ends = datetime.fromtimestamp(clock.time(), UTC) + timedelta(hours=1)
        token = OAuth2Token("abc", "Bearer", ends, "read", refresh_token="precious")
        shelf.write("an identity with hunter2", Kept(token, instant(clock)))
        (file,) = shelf.directory.iterdir()
        assert "precious" not in file.read_text()
        assert "hunter2" not in file.name + file.read_text()
        kept = shelf.read("an identity with hunter2")
        assert kept.token.access_token == "abc"
        assert "abc" not in repr(kept)

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
        ],
    )
    def test_garbage(self, run, source, shelf, content):
        """A file that is no kept token counts for nothing and is written anew."""
        run().acquire_token()
        shelf.file("an identity").write_bytes(content)
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
    def test_odd_values(self, run, source, shelf, key, value):
        """So does one with a value that can't be."""
        run().acquire_token()
        file = shelf.file("an identity")
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
        run().acquire_token()
        assert source.calls == 2

    @pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o770])
    def test_a_directory_that_others_may_use(self, tmp_path, mode):
        """Others may neither look into the directory nor write there, or it is refused."""
        directory = tmp_path / "open"
        directory.mkdir()
        directory.chmod(mode)
        with pytest.raises(InvalidConfigurationError, match="chmod 700") as caught:
            Shelf(directory)
        assert caught.value.field == "cache"

    def test_no_directory(self, tmp_path):
        """A link, a file or a place that is not there is refused in words."""
        (tmp_path / "real").mkdir(mode=0o700)
        (tmp_path / "link").symlink_to(tmp_path / "real")
        (tmp_path / "file").write_text("")
        for name in ("link", "file", "gone/kept"):
            with pytest.raises(InvalidConfigurationError, match="can't keep tokens"):
                Shelf(tmp_path / name)

    def test_a_write_that_fails_leaves_nothing(self, shelf, clock, monkeypatch):
        """What could not be written whole is not there at all."""
        ends = datetime.fromtimestamp(clock.time(), UTC) + timedelta(hours=1)
        kept = Kept(OAuth2Token("abc", "Bearer", ends), instant(clock))
        monkeypatch.setattr(Kept, "to_json", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shelf.write("an identity", kept)
        assert not list(shelf.directory.iterdir())


def test_many_processes_make_one_request(start, server):
    """Eight commands at once cause one token request and print one token."""
    server.latency_seconds = 0.2
    processes = [start("get", "billing") for _ in range(8)]
    told = [process.communicate(timeout=100) for process in processes]
    assert {words for _, words in told} == {""}
    assert len({token for token, _ in told}) == 1
    assert server.stats().token_requests == 1


def test_another_secret_is_another_token(tokenkeeper, environment, server):
    """A changed registration never gets the token of the one before."""
    first = tokenkeeper("get", "billing").stdout
    environment.setenv("BILLING_SECRET", "hunter2")
    assert tokenkeeper("get", "billing").exit_code == 1
    environment.setenv("BILLING_SECRET", server.client_secret)
    assert tokenkeeper("get", "billing").stdout == first


def test_the_runtime_directory(tokenkeeper, environment, tmp_path, server):
    """Without being told where, tokens are kept in the user's runtime directory."""
    environment.delenv("TOKENKEEPER_CACHE_DIR")
    environment.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for _ in range(2):
        tokenkeeper("get", "billing")
    assert server.stats().token_requests == 1
    assert (tmp_path / "tokenkeeper").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_others_may_read(tokenkeeper, cache):
    """The command refuses to keep tokens there, with the exit code of a wrong configuration."""
    os.chmod(cache, 0o755)
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "chmod 700" in result.stderr
