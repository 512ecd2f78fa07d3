"""Files that a store can't use: each is a clear error that names the remedy, and is left alone."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from kit.guards import GUARD_SECONDS
from kit.processes import PATH, Child
from kit.programs import unavailable

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.sqlite import SQLiteTokenStore
from tokenkeeper.testing.store_contract_base import claimed, published

NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    """Return the file of a store with a token."""
    path = tmp_path / "store" / "store.db"
    published(SQLiteTokenStore(path), "a")
    return path


def change(path, *statements):
    connection = sqlite3.connect(path)
    for each in statements:
        connection.execute(each)
    connection.commit()
    connection.close()


def foreign(path):
    path.unlink()
    change(path, "CREATE TABLE records (key TEXT)", "INSERT INTO records VALUES ('theirs')")
    path.chmod(0o600)


CONTENTS = {
    "garbage": (
        lambda path: path.write_bytes(b"garbage" * 1000),
        "not an SQLite database.*move it",
    ),
    "an empty file": (lambda path: path.write_bytes(b""), "not a store of Tokenkeeper.*Choose"),
    "a truncated file": (lambda path: os.truncate(path, 5000), "damaged.*move it away"),
    "a truncated header": (lambda path: os.truncate(path, 50), "not a store of|is damaged"),
    "overwritten pages": (
        lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 12288),
        "damaged.*move it away",
    ),
    "another program's": (foreign, "not a store of Tokenkeeper.*Choose another path"),
    "a newer schema": (lambda p: change(p, "PRAGMA user_version = 2"), "schema 2 .*newer.*Upgrade"),
    "an older schema": (lambda p: change(p, "PRAGMA user_version = 0"), "schema 0 .*older.*Move"),
    "a missing table": (lambda path: change(path, "DROP TABLE records"), "lacks a table"),
}
DAMAGED = {
    "another type": "generation = 'x'",
    "a negative number": "generation = -1",
    "a number that can't grow": "fence = 9223372036854775807",
    "a text that is not UTF-8": "intent = CAST(x'ff' AS TEXT)",
    "bytes for a boot": "boot = x'ff'",
}
CONTENTS |= {
    f"a damaged record: {name}": (
        lambda path, value=value: change(path, f"UPDATE records SET {value}"),
        "damaged record.*Forget it entirely: a",
    )
    for name, value in DAMAGED.items()
}


@pytest.mark.parametrize(("spoil", "message"), CONTENTS.values(), ids=CONTENTS)
def test_contents(path, spoil, message):
    """A file with another content than a store's is refused, and not changed by one byte."""
    spoil(path)
    before = path.read_bytes()
    store = SQLiteTokenStore(path)
    for operation in (
        store.read,
        lambda key: claimed(store, key),
        lambda key: published(store, key),
    ):
        with pytest.raises(StoreUnavailableError, match=message) as caught:
            operation("a")
        assert caught.value.is_misconfigured
        assert str(caught.value).isprintable()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


def test_a_damaged_record_can_be_removed(path):
    """The remedy that the error names works."""
    change(path, "UPDATE records SET sealed = 7")
    store = SQLiteTokenStore(path)
    with pytest.raises(StoreUnavailableError, match="Forget it entirely: a"):
        store.read("a")
    store.forget("a", entirely=True)
    assert published(store, "a")


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path):
    path.unlink()
    os.mkfifo(path, 0o600)


def directory(path):
    path.unlink()
    path.mkdir()


def give_away(path):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, NOBODY, NOBODY)


def side_pipe(path):
    os.mkfifo(f"{path}-wal", 0o600)


def side_link(path):
    os.symlink("/dev/zero", f"{path}-shm")


PLANTED = {
    "a link": (link, "not a regular file"),
    "a link to /dev/zero": (device, "not a regular file"),
    "a pipe": (pipe, "not a regular file"),
    "a directory": (directory, "not a regular file"),
    "another user's file": (give_away, "belongs to another user"),
    "a file that others may read": (lambda path: path.chmod(0o644), "chmod 600 "),
    "a file that others may write": (lambda path: path.chmod(0o622), "chmod 600 "),
    "a file that a group may read": (lambda path: path.chmod(0o640), "chmod 600 "),
    "a log that is a pipe": (side_pipe, "store.db-wal .*not a regular file"),
    "a log's index that is a link": (side_link, "store.db-shm .*not a regular file"),
    "a directory that others may enter": (lambda path: path.parent.chmod(0o711), "chmod 700 "),
    "a directory that others may write": (lambda path: path.parent.chmod(0o777), "chmod 700 "),
    "another user's directory": (lambda path: give_away(path.parent), "chmod 700|chown"),
}


@pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
@pytest.mark.parametrize(("plant", "message"), PLANTED.values(), ids=PLANTED)
def test_planted_files(path, plant, message):
    """What is not the user's alone is refused without a wait, and the error has the remedy."""
    plant(path)
    store, caught = SQLiteTokenStore(path), []

    def read():
        with pytest.raises(StoreUnavailableError, match=message) as error:
            store.read("a")
        caught.append(error.value.is_misconfigured)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    reading.join(GUARD_SECONDS)
    assert caught == [True]


def test_a_shared_directory(tmp_path):
    """In a directory such as /tmp, the error names a directory to make there."""
    tmp_path.chmod(0o1777)
    store = SQLiteTokenStore(tmp_path / "store.db")
    with pytest.raises(StoreUnavailableError, match=r"mkdir -m 700 .*does not exist yet"):
        store.read("a")
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_directory(tmp_path):
    """A path below a file is refused."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError) as caught:
        SQLiteTokenStore(tmp_path / "file" / "store.db").read("a")
    assert caught.value.is_misconfigured


@pytest.fixture
def place():
    """Return a new directory in which a user without privileges may work."""
    with tempfile.TemporaryDirectory() as place:
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        yield Path(place)


def without_privileges(job):
    """Return what *job* returned in a child that permissions apply to."""

    def child():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return job()

    return Child(child).result()


def outcome(operation):
    """Return the error of *operation*, for a child to report."""
    try:
        operation()
    except StoreUnavailableError as error:
        return [str(error), error.is_misconfigured]
    return ["", False]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
def test_permissions(place):
    """Missing permissions of the owner are misconfigurations, each with what to do."""

    def job():
        path = place / "store" / "store.db"
        store = SQLiteTokenStore(path)
        published(store, "a")
        outcomes = {}
        for name, mode in {"read-only": 0o400, "closed": 0o000}.items():
            path.chmod(mode)
            outcomes[name] = outcome(lambda: published(store, "a", replaces=1))
        path.chmod(0o600)
        for name, mode in {"read-only directory": 0o500, "closed directory": 0o000}.items():
            path.parent.chmod(mode)
            outcomes[name] = outcome(lambda: published(store, "a", replaces=1))
        path.parent.chmod(0o700)
        outcomes["opened again"] = [store.read("a").generation]
        return outcomes

    outcomes = without_privileges(job)
    assert outcomes.pop("opened again") == [1]
    for name, (message, is_misconfigured) in outcomes.items():
        assert is_misconfigured, (name, message)
        assert "store" in message, name
    assert "chmod u+w" in outcomes["read-only"][0]
    assert "permission" in outcomes["closed"][0]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there are no such limits on this platform")
def test_a_limit_on_the_size_of_files(path):
    """A write that the system refuses is an outage, and what was stored before is readable."""

    def job():
        import resource

        limit = path.stat().st_size + 40_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        store = SQLiteTokenStore(path)
        failed = outcome(lambda: published(store, "a", b"x" * 200_000, replaces=1))
        return [*failed, store.read("a").sealed.decode()]

    message, is_misconfigured, sealed = Child(job).result()
    assert (bool(message), is_misconfigured, sealed) == (True, False, "token")


FULL = """
import subprocess, sys
from pathlib import Path
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.sqlite import SQLiteTokenStore
from tokenkeeper.testing.store_contract_base import published

place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "none", place], check=True)
store = SQLiteTokenStore(place / "store" / "store.db")
new = SQLiteTokenStore(place / "new" / "store.db")
published(store, "a")
(place / "new").mkdir(mode=0o700)

def refused(operation):
    try:
        operation()
    except StoreUnavailableError as error:
        assert not error.is_misconfigured, error
        assert "disk is full. Free some space" in str(error), error
    else:
        raise AssertionError("no error")

refused(lambda: published(store, "a", b"x" * 300_000, replaces=1))
assert store.read("a").sealed == b"token"
with open(place / "filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(b"x" * 4096)
    except OSError:
        pass
refused(lambda: published(store, "a", b"new", replaces=1))
refused(lambda: published(new, "a"))
assert not list((place / "new").iterdir()), "nothing half made is left"
(place / "filler").unlink()
assert store.read("a").sealed == b"token"
assert published(store, "a", b"new", replaces=1)
assert published(new, "a")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the file system is Linux's")
def test_a_full_disk(tmp_path):
    """On a full disk operations fail, say so, lose nothing, and work again once there is space."""
    script = tmp_path / "full.py"
    script.write_text(FULL)
    place = tmp_path / "place"
    place.mkdir()
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    try:
        allowed = subprocess.run(
            [*unshare, "mount", "-t", "tmpfs", "none", place], capture_output=True, text=True
        )
    except FileNotFoundError:
        unavailable("unshare is missing: install util-linux")
    if allowed.returncode:
        pytest.skip(f"this machine allows no mounts: {allowed.stderr.strip()}")
    run = subprocess.run(
        [*unshare, sys.executable, script, place],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PATH},
        timeout=GUARD_SECONDS * 2,
    )
    assert run.returncode == 0, run.stderr
