"""Files that another user planted in the token directory are never printed, and cause no wait."""

import os
import re
import subprocess
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kit import internals

from tokenkeeper import InvalidConfigurationError, OAuth2Token
from tokenkeeper.cli.store import Failure, StoredToken, TokenDirectory
from tokenkeeper.clock import SYSTEM_CLOCK, instant
from tokenkeeper.stores.private_directory import PrivateDirectory

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")

IDENTITY = "a client"


def valid_token(text="planted"):
    """Return a token that would be used."""
    expires_at = datetime.fromtimestamp(SYSTEM_CLOCK.time(), UTC) + timedelta(hours=1)
    return StoredToken(OAuth2Token(text, "Bearer", expires_at), instant(SYSTEM_CLOCK))


@pytest.fixture
def store(tmp_path):
    """Return a token directory with a token and a stored failure."""
    store = TokenDirectory(tmp_path / "store")
    store.write(IDENTITY, valid_token("ours"))
    store.note(IDENTITY, Failure("down", datetime.now(UTC)))
    return store


def link(place):
    elsewhere = place.parent.parent / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)


def device(place, name):
    place.unlink()
    place.symlink_to(name)


def pipe(place):
    place.unlink()
    os.mkfifo(place, 0o600)


def directory(place):
    place.unlink()
    place.mkdir()


def give_away(place):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(place, 1001, 1001)


def real_device(place):
    if os.geteuid() != 0:
        pytest.skip("only root can make devices")
    place.unlink()
    try:
        os.mknod(place, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
    except PermissionError:
        pytest.skip("this machine does not allow new devices")


def too_long(place):
    place.write_bytes(place.read_bytes() + b" " * 2_000_000)


PLANTED = {
    "a link": link,
    "a link to /dev/zero": lambda place: device(place, "/dev/zero"),
    "a link to a terminal": lambda place: device(place, "/dev/tty"),
    "a device": real_device,
    "a pipe": pipe,
    "a directory": directory,
    "another user's file": give_away,
    "a file that others may read": lambda place: place.chmod(0o644),
    "a file that others may write": lambda place: place.chmod(0o622),
    "a file that a group may write": lambda place: place.chmod(0o660),
    "a second name of a file": lambda place: os.link(place, place.parent.parent / "second"),
    "a file without end": too_long,
}


def all_but(excluded):
    return [pytest.param(each, id=name) for name, each in PLANTED.items() if each is not excluded]


@pytest.mark.parametrize("ending", ["json", "failure"])
@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_planted_files(store, plant, ending):
    """A file that is not a regular one of our own is ignored, without a wait."""
    place = store.file(IDENTITY).with_suffix(f".{ending}")
    assert (store.read(IDENTITY), store.failure(IDENTITY)) != (None, None)
    plant(place)
    read = store.read if ending == "json" else store.failure
    outcome = []
    reading = threading.Thread(target=lambda: outcome.append(read(IDENTITY)), daemon=True)
    reading.start()
    reading.join(20)
    assert outcome == [None]


@pytest.mark.parametrize("plant", all_but(directory))  # a file can't replace a directory
def test_planted_keys(tmp_path, plant):
    """A name key that is not exclusively ours is replaced."""
    first = TokenDirectory(tmp_path / "store")
    first.write(IDENTITY, valid_token())
    plant(first.directory / "key")
    second = TokenDirectory(tmp_path / "store")
    assert second.file(IDENTITY) != first.file(IDENTITY)
    assert (second.directory / "key").stat().st_size == 32
    assert TokenDirectory(tmp_path / "store").file(IDENTITY) == second.file(IDENTITY)


@pytest.mark.parametrize("plant", all_but(too_long))  # a lock's content is never read
def test_planted_locks(store, plant):
    """A lock that is not exclusively ours is an error, without a wait."""
    with store.lock(IDENTITY):
        pass
    place = store.file(IDENTITY).with_suffix(".lock")
    place.touch(0o600)
    plant(place)
    errors = []

    def lock():
        try:
            with store.lock(IDENTITY):
                pass
        except InvalidConfigurationError as error:
            errors.append(str(error))

    locking = threading.Thread(target=lock, daemon=True)
    locking.start()
    locking.join(20)
    assert len(errors) == 1
    assert "can't store tokens" in errors[0]


def test_a_planted_file_is_replaced(store):
    """The next token replaces a planted file, wherever that led."""
    place = store.file(IDENTITY)
    link(place)
    store.write(IDENTITY, valid_token("new"))
    assert not place.is_symlink()
    assert store.read(IDENTITY).token.access_token == "new"
    assert "ours" in (store.directory.parent / "elsewhere").read_text()


def test_names_without_a_key(tmp_path):
    """Two directories use different names for one client, so names can't be guessed."""
    names = {TokenDirectory(tmp_path / each).file(IDENTITY).name for each in ("one", "two")}
    assert len(names) == 2


def test_processes_agree_on_a_key(tmp_path):
    """Directories that are opened at the same moment use the same key."""
    (tmp_path / "store").mkdir(mode=0o700)
    barrier = threading.Barrier(8)
    names = []

    def name():
        store = TokenDirectory(tmp_path / "store")
        barrier.wait(20)
        names.append(store.file(IDENTITY).name)

    threads = [threading.Thread(target=name) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert len(names) == 8
    assert len(set(names)) == 1


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_place_that_others_may_write(tmp_path, mode):
    """A directory that others can replace is rejected with the command that fixes it."""
    above = tmp_path / "above"
    above.mkdir()
    TokenDirectory(above / "store").write(IDENTITY, valid_token())
    above.chmod(mode)
    with pytest.raises(InvalidConfigurationError, match=rf"chmod o-w {above}$") as refused:
        TokenDirectory(above / "store")
    assert refused.value.field == "cache"


def test_a_place_that_is_opened_later(tmp_path):
    """Each operation checks the path again, and reads nothing once others can write there."""
    above = tmp_path / "above"
    above.mkdir()
    store = TokenDirectory(above / "store")
    store.write(IDENTITY, valid_token())
    above.chmod(0o777)
    assert store.read(IDENTITY) is None
    with pytest.raises(InvalidConfigurationError, match="chmod o-w"):
        store.write(IDENTITY, valid_token())


def content_of(directory):
    """Return the content of each file in a directory."""
    return {each.name: each.read_bytes() for each in directory.iterdir()}


@pytest.fixture
def replace(tmp_path, monkeypatch):
    """Return a function that replaces the directory ``store`` the next time that it is opened.

    The new one has the same files with other content, and one more. The function returns the
    paths that the old directory and the new one then have.
    """
    store, old, new = (tmp_path / name for name in ("store", "old", "new"))

    def swap():
        store.rename(old)
        new.rename(store)

    def replace(when, mode=0o700):
        new.mkdir()
        new.chmod(mode)
        for name in ["planted", *content_of(store)]:
            (new / name).write_bytes(b"planted")
            (new / name).chmod(0o600)
        steps = [swap]
        open_file = os.open

        def open_and_replace(path, *arguments, **options):
            is_store = os.fspath(path) == os.fspath(store.resolve()) and steps
            if is_store and when == "before":
                steps.pop()()
            handle = open_file(path, *arguments, **options)
            if is_store and when == "after":
                steps.pop()()
            return handle

        monkeypatch.setattr(os, "open", open_and_replace)
        return old, store

    return replace


# For each operation: its result, and the files that the old directory then has.
OPERATIONS = {
    "read": (lambda files: files.read("a"), b"ours", {"a": b"ours"}),
    "read what is not there": (lambda files: files.read("planted"), None, {"a": b"ours"}),
    "write": (lambda files: files.write("a", b"next"), None, {"a": b"next"}),
    "write another file": (
        lambda files: files.write("b", b"next"),
        None,
        {"a": b"ours", "b": b"next"},
    ),
    "create": (lambda files: files.create("b", b"next"), True, {"a": b"ours", "b": b"next"}),
    "touch": (lambda files: files.touch("b"), None, {"a": b"ours", "b": b""}),
    "remove": (lambda files: files.remove("a"), True, {}),
    "names": (lambda files: files.names(), ["a"], {"a": b"ours"}),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_directory_that_is_replaced(tmp_path, replace, operation):
    """Once the directory is open, one that takes its place is neither read nor written."""
    operate, result, content = OPERATIONS[operation]
    files = PrivateDirectory(tmp_path / "store")
    files.write("a", b"ours")
    old, new = replace("after")
    before = content_of(tmp_path / "new")
    assert operate(files) == result
    assert content_of(old) == content
    assert content_of(new) == before


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_directory_that_is_replaced_before_it_is_opened(tmp_path, replace, mode):
    """The directory is checked once it is open, so another one in its place is refused."""
    files = PrivateDirectory(tmp_path / "store")
    files.write("a", b"ours")
    old, new = replace("before", mode)
    before = content_of(tmp_path / "new")
    assert files.read("a") is None
    with pytest.raises(InvalidConfigurationError, match="only you can read"):
        files.write("a", b"next")
    assert content_of(old) == {"a": b"ours"}
    assert content_of(new) == before


def test_a_token_in_a_directory_that_is_replaced(store, replace):
    """A token that is planted with the directory is not returned."""
    planted = valid_token("planted").to_json()
    _, new = replace("after")
    for place in (new.parent / "new").glob("*.json"):
        place.write_text(planted)
    assert store.read(IDENTITY).token.access_token == "ours"
    assert store.read(IDENTITY).token.access_token == "planted"  # the directory was replaced


def test_a_directory_of_our_own_in_tmp():
    """Our own directory in a sticky one can be used."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        store = TokenDirectory(Path(name) / "store")
        store.write(IDENTITY, valid_token())
        assert store.read(IDENTITY) is not None


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_the_command(tokenkeeper, cache, server, plant):
    """`get` prints a token of the server instead of a planted one."""
    first = tokenkeeper("get", "billing").stdout
    (place,) = cache.glob("*.json")
    place.write_text(place.read_text().replace(first.strip(), "planted"))
    plant(place)
    result = tokenkeeper("get", "billing")
    assert "planted" not in result.output
    assert result.exit_code == (0 if plant is not directory else result.exit_code)
    if result.exit_code == 0:
        assert result.stdout not in ("", first)


@pytest.mark.slow
def test_a_planted_directory(start, environment, tmp_path, server):
    """A token in a directory whose parent others can write is never printed."""
    above = tmp_path / "above"
    above.mkdir()
    environment.setenv("TOKENKEEPER_CACHE_DIR", str(above / "store"))
    process = start("get", "billing")
    first, _ = process.communicate(timeout=100)
    for place in (above / "store").glob("*.json"):
        place.write_text(place.read_text().replace(first.strip(), "planted"))
    above.chmod(0o777)
    process = start("get", "billing")
    printed, errors = process.communicate(timeout=100)
    assert (process.returncode, printed) == (2, "")
    assert f"chmod o-w {above}" in errors


def test_no_token_on_a_command_line():
    """No example or message puts a token on a command line, which every user can see."""
    root = Path(__file__).parents[2]
    texts = {
        place: place.read_text(encoding="utf-8")
        for pattern in ("*.md", "docs/**/*.md", "tokenkeeper/**/*.py")
        for place in root.glob(pattern)
        if place.name != "CHANGELOG.md"
    }
    shown = re.compile(r"""(?:-H|--header|-u|-d|--data\S*)[ =]*["']?[^"'\n]*\$\(tokenkeeper get""")
    assert [place.name for place, text in texts.items() if shown.search(text)] == []
    piped = [place for place, text in texts.items() if "--format header | curl -H @-" in text]
    assert {place.name for place in piped} >= {"command-line.md", "tutorial.md", "get.py"}


@pytest.mark.slow
def test_curl_reads_the_header_from_standard_input(start, server, tmp_path):
    """The documented pipe into curl keeps the token out of the process list."""
    try:
        subprocess.run(["curl", "--version"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("curl is not installed")
    process = start("get", "billing", "--format", "header")
    command = ["curl", "-sS", "--noproxy", "*", "-w", "%{http_code}", "-o", os.devnull]
    done = subprocess.run(
        [*command, "-H", "@-", server.api_url],
        stdin=process.stdout,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("200", "")


def test_the_name_has_no_secret(tmp_path):
    """Providers that differ only in secrets have the same identity."""
    from tokenkeeper import TokenKeeper

    def identity(**changes):
        block = {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": "worker",
            "client_secret": "s3cret-one",
            "token_url": "https://id.example.com/token?api_key=s3cret-one&tenant=a",
            "additional_params": {"audience": "b", "password": "s3cret-one"},
            **changes,
        }
        with TokenKeeper.from_config({"oauth2": block}) as keeper:
            return internals.provider(keeper).spec.identity

    first = identity()
    assert "s3cret" not in first
    assert first == identity(
        client_secret="s3cret-two",
        token_url="https://id.example.com/token?api_key=s3cret-two&tenant=a",
        additional_params={"audience": "b", "password": "s3cret-two"},
    )
    for changes in (
        {"client_id": "other"},
        {"scope": "read"},
        {"token_url": "https://id.example.com/token?api_key=s3cret-one&tenant=b"},
        {"additional_params": {"audience": "c", "password": "s3cret-one"}},
    ):
        assert identity(**changes) != first
