"""source.write_to(): a file that always has the current token."""

import os
import stat
import threading

import anyio
import pytest
from kit import internals
from kit.crowds import crowd
from kit.guards import GUARD_SECONDS
from kit.providers import Source

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    TokenAcquisitionError,
    TokenKeeper,
)

posix = pytest.mark.skipif(os.name != "posix", reason="files have no owners and modes there")


@pytest.fixture
def provider(clock):
    return Source(clock=clock)


@pytest.fixture
def keeper(clock, provider):
    """Return a keeper without threads, which writes before a caller returns."""
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(provider)
        yield keeper


@pytest.fixture
def source(keeper):
    return keeper.source("api")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "token"


class TestContent:
    """What is in the file."""

    def test_the_token_alone(self, source, path):
        """It has the current token, with nothing around it, at once."""
        source.write_to(path)
        assert path.read_bytes() == b"api-1"

    def test_each_renewal(self, source, path, clock):
        """It is written on each renewal."""
        source.write_to(str(path))
        clock.step(3400)
        source()
        assert path.read_text() == "api-2"

    def test_a_cached_token(self, source, path, provider):
        """A token that is cached is written without a request."""
        source()
        source.write_to(path)
        assert path.read_text() == "api-1"
        assert provider.requests == 1

    def test_a_longer_token_before(self, source, path):
        """What was in the file is replaced as a whole."""
        path.write_text("something longer than the token")
        source.write_to(path)
        assert path.read_text() == "api-1"

    def test_a_failed_renewal(self, source, path, provider):
        """A renewal that fails leaves the token that is there."""
        source.write_to(path)
        provider.error = ValueError()
        with pytest.raises(TokenAcquisitionError):
            source.get_token(force_refresh=True)
        assert path.read_text() == "api-1"

    def test_a_newer_token_meanwhile(self, clock, provider, path, monkeypatch):
        """A renewal between the request and the first write is not overwritten."""
        with TokenKeeper(clock=clock, background=False) as keeper:
            keeper.add_provider(provider)
            source = keeper.source("api")
            first = source.token()

            def token():
                source.get_token(force_refresh=True)
                return first

            monkeypatch.setattr(type(source), "token", lambda self: token())
            monkeypatch.setattr(
                type(source), "get_token", lambda self, force_refresh: keeper.get_token("api", True)
            )
            source.write_to(path)
        assert path.read_text() == "api-2"

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_begun_on_an_event_loop(self, source, path, backend):
        """Where an event loop began it, the file is written after that loop has ended, too."""

        async def main():
            source.write_to(path)

        anyio.run(main, backend=backend)
        source.get_token(force_refresh=True)
        assert path.read_text() == "api-2"


class TestReaders:
    """Who can read it, and when."""

    @posix
    def test_mode(self, source, path):
        """Only its owner can read it, whatever the umask and the mode before."""
        path.write_text("")
        path.chmod(0o666)
        before = os.umask(0)
        try:
            source.write_to(path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @posix
    def test_an_old_reader(self, source, path, clock):
        """A reader that has opened it reads the old token to its end."""
        source.write_to(path)
        with path.open() as old:
            clock.step(3400)
            source()
            assert old.read() == "api-1"
        assert path.read_text() == "api-2"

    def test_nothing_is_left_beside_it(self, source, path, clock):
        """No other file stays in its directory."""
        source.write_to(path)
        clock.step(3400)
        source()
        assert [each.name for each in path.parent.iterdir()] == ["token"]

    @posix
    def test_a_link(self, source, path, tmp_path):
        """A link is replaced; what it points to is not written."""
        other = tmp_path / "other"
        other.write_text("mine")
        path.symlink_to(other)
        source.write_to(path)
        assert not path.is_symlink()
        assert other.read_text() == "mine"


class TestPlaces:
    """Where it is."""

    def test_a_relative_path(self, source, tmp_path, monkeypatch):
        """A relative path is the one at the time of the call, wherever the process goes."""
        (elsewhere := tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        stop = source.write_to("token", remove_on_close=True)
        monkeypatch.chdir(elsewhere)
        source.get_token(force_refresh=True)
        assert (tmp_path / "token").read_text() == "api-2"
        stop()
        assert [each.name for each in tmp_path.iterdir()] == ["elsewhere"]
        assert list(elsewhere.iterdir()) == []

    @posix
    def test_a_linked_directory(self, source, tmp_path):
        """A link to a directory is followed once: later changes of it have no effect."""
        first, second, link = (tmp_path / name for name in ("first", "second", "link"))
        first.mkdir()
        second.mkdir()
        link.symlink_to(first)
        source.write_to(link / "token")
        link.unlink()
        link.symlink_to(second)
        source.get_token(force_refresh=True)
        assert (first / "token").read_text() == "api-2"
        assert list(second.iterdir()) == []

    @pytest.mark.parametrize("name", ["", ".", "/"])
    def test_a_path_without_a_name(self, source, name, provider):
        """A path that can only be a directory is refused, without a request."""
        with pytest.raises(InvalidConfigurationError, match="names no file") as caught:
            source.write_to(name)
        assert caught.value.field == "path"
        assert provider.requests == 0

    @pytest.mark.parametrize("path", [None, 7, b"token", "a\0b"])
    def test_no_path(self, source, path, provider):
        """What is not a path is refused, without a request."""
        with pytest.raises(InvalidConfigurationError):
            source.write_to(path)
        assert provider.requests == 0


class TestTwoWriters:
    """Several writers of one path."""

    def test_one_source_twice(self, source, path):
        """A source may write a file twice, and the end of one leaves the other."""
        stop = source.write_to(path)
        source.write_to(path)
        stop()
        source.get_token(force_refresh=True)
        assert path.read_text() == "api-2"

    def test_two_sources(self, keeper, clock, path):
        """Of two tokens in one file, a reader gets one as a whole, that of the last writer."""
        keeper.add_provider(Source("other", clock=clock))
        source, other = keeper.source("api"), keeper.source("other")
        source.write_to(path)
        other.write_to(path)
        assert path.read_text() == "other-1"
        source.get_token(force_refresh=True)
        assert path.read_text() == "api-2"

    def test_at_once(self, path, clock):
        """Threads that write one path at once leave one whole token, and no other file."""
        with TokenKeeper(clock=clock) as keeper:
            for number in range(8):
                keeper.add_provider(Source(f"api{number}", clock=clock))
            sources = iter([keeper.source(f"api{number}") for number in range(8)])
            results = crowd(8, lambda: next(sources).write_to(path)).join()
            assert not [each for each in results if isinstance(each, Exception)]
        assert path.read_text() in {f"api{number}-1" for number in range(8)}
        assert [each.name for each in path.parent.iterdir()] == ["token"]


class TestRefusals:
    """What can't hold a token."""

    def test_no_directory(self, source, tmp_path, provider):
        """Without its directory there is an error, and no request."""
        with pytest.raises(InvalidConfigurationError, match=r"nowhere/token can't be written"):
            source.write_to(tmp_path / "nowhere" / "token")
        assert provider.requests == 0

    @posix
    def test_a_shared_directory(self, source, tmp_path, provider):
        """A directory that every user can write is refused, with the command that fixes it."""
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        with pytest.raises(InvalidConfigurationError, match=r"chmod o-w .*shared"):
            source.write_to(shared / "token")
        assert provider.requests == 0

    @posix
    def test_a_sticky_directory(self, source, tmp_path):
        """A directory such as /tmp is safe: no other user can replace our file there."""
        shared = tmp_path / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        source.write_to(shared / "token")
        assert (shared / "token").read_text() == "api-1"

    def test_a_directory_in_its_place(self, source, path):
        """An error while it is written is the caller's, and nothing is left behind."""
        path.mkdir()
        with pytest.raises(OSError, match="token"):
            source.write_to(path)
        assert [each.name for each in path.parent.iterdir()] == ["token"]

    def test_no_token(self, source, path, provider):
        """Without a first token nothing is written, then or later."""
        provider.error = ValueError()
        with pytest.raises(TokenAcquisitionError):
            source.write_to(path)
        provider.error = None
        source.keeper.clear_token()
        source()
        assert not path.exists()

    def test_a_closed_keeper(self, source, path):
        """After close() nothing is written."""
        source.keeper.close()
        with pytest.raises(KeeperClosedError):
            source.write_to(path)
        assert not path.exists()

    def test_a_later_error(self, source, path, clock, caplog):
        """An error in a later write is logged, without the token, and the callers have theirs."""
        source.write_to(path)
        path.unlink()
        path.mkdir()
        clock.step(3400)
        assert source() == "api-2"
        assert "a subscriber to the token of 'api' failed" in caplog.text
        assert "api-2" not in caplog.text


class TestTheEnd:
    """When it is no longer written."""

    @pytest.mark.parametrize("removed", [False, True])
    def test_the_keeper_is_closed(self, source, path, removed):
        """close() leaves the file, or removes it if that was asked for."""
        source.write_to(path, remove_on_close=removed)
        source.keeper.close()
        assert path.exists() is not removed

    @pytest.mark.parametrize("removed", [False, True])
    def test_the_function(self, source, path, removed):
        """The function that write_to() returned does the same, as often as it is called."""
        stop = source.write_to(path, remove_on_close=removed)
        stop()
        stop()
        source.get_token(force_refresh=True)
        assert path.exists() is not removed
        if not removed:
            assert path.read_text() == "api-1"

    def test_in_the_middle_of_a_write(self, source, path, monkeypatch, in_thread):
        """An end in the middle of a write waits for it, so no token is left behind."""
        stop = source.write_to(path, remove_on_close=True)
        replace, entered, go_on = os.replace, threading.Event(), threading.Event()

        def slow_replace(*names):
            entered.set()
            assert go_on.wait(GUARD_SECONDS)
            replace(*names)

        monkeypatch.setattr(os, "replace", slow_replace)
        writing, _ = in_thread(source.get_token, True)
        assert entered.wait(GUARD_SECONDS)
        stopping, _ = in_thread(stop)
        go_on.set()
        writing.join(GUARD_SECONDS)
        stopping.join(GUARD_SECONDS)
        assert list(path.parent.iterdir()) == []

    def test_it_is_gone(self, source, path):
        """A file that was removed meanwhile causes no error."""
        stop = source.write_to(path, remove_on_close=True)
        path.unlink()
        stop()


class TestForks:
    """A forked child."""

    def test_another_process(self, source, path, monkeypatch):
        """In another process than the one that began it, nothing writes or removes the file."""
        removing = source.write_to(path, remove_on_close=True)
        leaving = source.write_to(path)
        with monkeypatch.context() as other_process:
            other_process.setattr(os, "getpid", lambda: -1)
            source.get_token(force_refresh=True)
            removing()
            leaving()
        assert path.read_text() == "api-1"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_child(self, source, path, exit_code_of):
        """A child neither writes the file nor removes it."""
        stop = source.write_to(path, remove_on_close=True)

        def child():
            source.get_token(force_refresh=True)
            stop()
            source.keeper.close()
            return 0

        assert exit_code_of(child) == 0
        assert path.read_text() == "api-1"
        source.get_token(force_refresh=True)
        assert path.read_text() == "api-2"


def test_in_the_background(clock, provider, path, monkeypatch):
    """With threads, the file is written although no caller asks for the token."""
    written = threading.Event()
    replace = os.replace
    with TokenKeeper(clock=clock, idle_timeout_seconds=0) as keeper:
        internals.take_over_scheduler(keeper)
        keeper.add_provider(provider)
        keeper.source("api").write_to(path)
        monkeypatch.setattr(os, "replace", lambda *names: (replace(*names), written.set()))
        clock.step(3400)
        for due in internals.take_due(keeper):
            internals.renew(keeper, due)
        assert written.wait(GUARD_SECONDS)
        assert path.read_text() == "api-2"
