"""The store in an SQLite file: whose it is, what it does with bad files, and what time is to it."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest
from kit.processes import Child

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.base import NO_RECORD, TokenStore
from tokenkeeper.stores.settings import opened
from tokenkeeper.stores.sqlite import DROPPED_AFTER_SECONDS, SQLiteTokenStore, auto_path
from tokenkeeper.testing import SteppedClock
from tokenkeeper.testing.store_contract_base import claimed, published

SECRET = b"eyJ-a-token-that-must-not-stay"


@pytest.fixture
def clock():
    """Return a clock that only the test steps."""
    return SteppedClock()


@pytest.fixture
def path(tmp_path):
    """Return where the store is, in a directory that does not exist yet."""
    return tmp_path / "store" / "store.db"


@pytest.fixture
def store(path, clock):
    """Return a store with a token."""
    store = SQLiteTokenStore(path, clock=clock)
    published(store, "a", SECRET)
    return store


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def bytes_of(path):
    """Return the content of the file and of everything beside it."""
    return b"".join(each.read_bytes() for each in path.parent.iterdir())


def test_it_is_private(store):
    """A keeper sees that no other user can read it, and that it has the methods of a store."""
    assert SQLiteTokenStore.is_private
    assert isinstance(store, TokenStore)


@pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
@pytest.mark.parametrize("umask", [0, 0o022, 0o277, 0o777])
def test_modes(path, umask):
    """The file, its log and its directory are the user's alone, whatever the umask is."""
    before = os.umask(umask)
    try:
        store = SQLiteTokenStore(path)
        published(store, "a")
        with store._file.transaction(writes=True) as connection:
            connection.execute("UPDATE records SET owner = 'x'")
            modes = {each.name: mode_of(each) for each in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
    assert mode_of(path.parent) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


def test_the_parent_directory_must_exist(tmp_path):
    """One directory is created, not a whole path that may be a mistake."""
    store = SQLiteTokenStore(tmp_path / "no" / "such" / "store.db")
    with pytest.raises(StoreUnavailableError, match="No such file or directory") as caught:
        store.read("a")
    assert caught.value.is_misconfigured
    assert not list(tmp_path.iterdir())


def test_a_relative_path(path, tmp_path, monkeypatch):
    """A relative path is that of the directory in which the store was made."""
    path.parent.mkdir(mode=0o700)
    monkeypatch.chdir(path.parent)
    store = SQLiteTokenStore("relative.db")
    monkeypatch.chdir(tmp_path)
    published(store, "a")
    assert [each.name for each in path.parent.iterdir()] == ["relative.db"]


@pytest.mark.parametrize("name", ["?mode=ro#x", "%41 %00.db", "ü\u2028.db", os.fsdecode(b"\xff")])
def test_special_names(tmp_path, name):
    """Any name of a file is taken as it is."""
    store = SQLiteTokenStore(tmp_path / "d" / name)
    published(store, "a")
    assert os.listdir(tmp_path / "d") == [name]
    assert store.label.isprintable()
    assert repr(store).isprintable()


@pytest.mark.parametrize("path", ["/a/b.db", "/with space/é.db", "/a?b#c%41/d.db"])
def test_urls_of_labels(path):
    """A store's label is its URL, from which the same store can be made."""
    store = SQLiteTokenStore(path)
    assert SQLiteTokenStore.from_url(store.label).path == Path(path)


def test_urls(tmp_path, monkeypatch):
    """Three slashes begin a relative path, and four an absolute one."""
    monkeypatch.chdir(tmp_path)
    assert SQLiteTokenStore.from_url("sqlite:///x/a.db").path == tmp_path / "x" / "a.db"
    store = SQLiteTokenStore.from_url("sqlite:////x/a.db", timeout_seconds=3.0)
    assert (store.path, store.timeout_seconds) == (Path("/x/a.db"), 3.0)
    assert store.label == "sqlite:////x/a.db"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite://a.db",
        "sqlite://host/a.db",
        "sqlite:///:memory:",
        "sqlite:///a.db?timeout=3",
        "sqlite:///a.db#x",
        "sqlite:///a/",
        "sqlite:///a%00b",
        "redis:///a.db",
        "a.db",
    ],
)
def test_other_urls(url):
    """A URL that names no file is refused with the two forms that do."""
    with pytest.raises(
        InvalidConfigurationError, match=r"sqlite:///relative/path\.db or"
    ) as caught:
        SQLiteTokenStore.from_url(url)
    assert caught.value.field == "store.url"


def test_the_automatic_path(tmp_path, monkeypatch):
    """The store "auto" is in the user's runtime directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert auto_path() == tmp_path / "tokenkeeper" / "store.db"
    settings = opened("auto")
    assert (settings.store.path, settings.label) == (auto_path(), settings.store.label)
    assert published(settings.store, "a")


def test_it_is_opened_by_its_url(path):
    """A keeper that is given the URL gets the store, which needs no key, with the timeout."""
    settings = opened({"url": f"sqlite:///{path}", "timeout_seconds": 0.5})
    assert (settings.store.path, settings.store.timeout_seconds) == (path, 0.5)
    assert settings.label == f"sqlite:///{path}"


def test_an_invalid_url_is_named():
    """The error of a keeper names the setting, and the two forms of the URL."""
    with pytest.raises(InvalidConfigurationError, match=r"^store must be sqlite:///relative"):
        opened("sqlite://a.db")


@pytest.mark.parametrize("runtime", [None, "", "relative", "/nowhere/at/all"])
def test_no_automatic_path(monkeypatch, runtime):
    """Without a runtime directory, the error names a URL to use instead."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if runtime is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    with pytest.raises(InvalidConfigurationError, match=r"names no directory.*sqlite:////path"):
        auto_path()


@pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")
def test_an_open_runtime_directory(tmp_path, monkeypatch):
    """A runtime directory that others can write is refused with the command that closes it."""
    tmp_path.chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(InvalidConfigurationError, match=r"chmod 700 .*sqlite:////path"):
        auto_path()


def reboot(monkeypatch, boot="another boot"):
    monkeypatch.setattr("tokenkeeper.stores.sqlite.boot_id", lambda clock: boot)


def test_after_a_reboot(store, clock, monkeypatch):
    """What was stored before a reboot is of unknown age; the token is there all the same."""
    fence = claimed(store, "a", generation=1).record.fence
    store.fail("a", owner="first", fence=fence, sealed=b"why")
    claimed(store, "a", generation=1)
    reboot(monkeypatch)
    record = store.read("a")
    assert (record.generation, record.sealed) == (1, SECRET)
    assert record.age_seconds == record.claim_age_seconds == float("inf")
    assert record.failure.age_seconds == float("inf")
    taken = claimed(store, "a", "second", generation=1)
    assert (taken.granted, taken.taken_from) == (True, "first")
    record = store.read("a")
    assert record.claim_age_seconds == 0.0, "what is new has an age"
    assert record.age_seconds == record.failure.age_seconds == float("inf"), "the old has none"


def test_a_clock_that_was_set_back(store, clock):
    """A moment in the future is of another clock, so its age is unknown."""
    published(store, "b", age_seconds=-5.0)
    assert store.read("b").age_seconds == float("inf")


def test_expired_records_are_dropped(store, clock):
    """A new record removes those whose tokens expired a day ago, but none that must be kept."""
    published(store, "kept", keep=True, lifetime_seconds=10.0)
    published(store, "lives", lifetime_seconds=10 * DROPPED_AFTER_SECONDS)
    claimed(store, "claimed")
    clock.step(DROPPED_AFTER_SECONDS + 3599.0)
    claimed(store, "new")
    assert set(store.keys()) == {"a", "kept", "lives", "new"}, "a claim has nothing to expire"
    clock.step(2.0)
    published(store, "a second")
    assert set(store.keys()) == {"kept", "lives", "new", "a second"}


def test_a_used_record_is_not_dropped(store, clock):
    """A claim on a record whose token expired long ago keeps it."""
    clock.step(DROPPED_AFTER_SECONDS + 3601.0)
    claimed(store, "a", generation=1)
    claimed(store, "new")
    assert store.read("a").owner == "first"


def test_a_directory_that_was_deleted(store, path):
    """A store whose files are deleted starts over."""
    for each in path.parent.iterdir():
        each.unlink()
    assert store.read("a") == NO_RECORD
    path.unlink()
    path.parent.rmdir()
    assert published(store, "a", b"again")
    assert store.read("a").sealed == b"again"


def test_a_log_without_its_file(store, path):
    """A log that was left behind is not applied to a new file."""
    path.unlink()
    Path(f"{path}-wal").touch(mode=0o600)
    with pytest.raises(StoreUnavailableError, match=r"is missing, but .*-wal is not") as caught:
        store.read("a")
    assert caught.value.is_misconfigured
    assert not path.exists()


@pytest.mark.parametrize("entirely", [False, True])
def test_a_forgotten_token_is_erased(store, path, entirely):
    """A forgotten token is in no file, although another process keeps the log open."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("SELECT * FROM records").fetchall()
        published(store, "a", SECRET * 1000, replaces=1)
        published(store, "a", SECRET * 2, replaces=2)
        assert SECRET in bytes_of(path)
        assert Path(f"{path}-wal").stat().st_size > 0
        assert store.forget("a", entirely=entirely)
        assert SECRET not in bytes_of(path)
    finally:
        other.close()
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


def test_a_forgotten_token_while_somebody_reads(store, path):
    """A reader that sees the old state delays the erasure until it is done, not the operation."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        published(store, "a", SECRET * 2, replaces=1)
        other.execute("BEGIN")
        other.execute("SELECT * FROM records").fetchall()
        assert store.forget("a")
        assert store.read("a").sealed is None
        assert SECRET in bytes_of(path)
    finally:
        other.close()
    assert SECRET not in bytes_of(path)


def test_replaced_tokens_are_erased(store, path):
    """A replaced token is erased as soon as no process has the file open."""
    published(store, "a", b"new", replaces=1)
    assert SECRET not in bytes_of(path)


def test_a_locked_file(path):
    """A writer that another process keeps out gives up after its timeout; readers go on."""
    store = SQLiteTokenStore(path, timeout_seconds=0.05)
    published(store, "a")
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreUnavailableError, match=r"locked by another process for 0\.05 s"
        ) as e:
            published(store, "a", replaces=1)
        assert not e.value.is_misconfigured
        assert store.read("a").generation == 1
    finally:
        other.close()
    assert published(store, "a", replaces=1)


def test_the_longest_timeout(path):
    """A timeout of weeks waits, although SQLite counts its milliseconds in 32 bits."""
    store = SQLiteTokenStore(path, timeout_seconds=3e6)
    with store._file.transaction() as connection:
        ((milliseconds,),) = connection.execute("PRAGMA busy_timeout")
    assert milliseconds >= 86_400_000


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "1", True])
def test_invalid_timeouts(path, seconds):
    """The timeout must be a positive number."""
    with pytest.raises(InvalidConfigurationError, match="timeout_seconds"):
        SQLiteTokenStore(path, timeout_seconds=seconds)


@pytest.mark.slow
def test_many_processes_create_it(path):
    """Of processes that find no file, all use the same one, and one gets the claim."""
    children = [
        Child(
            lambda n=number: (
                claimed(SQLiteTokenStore(path, timeout_seconds=20), "a", str(n)).granted
            )
        )
        for number in range(12)
    ]
    assert sum(child.result() for child in children) == 1
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


@pytest.mark.slow
def test_kills_in_mid_write(path):
    """A process that is killed while it writes leaves the record before or the one after."""
    from kit.kills import LEAST_WRITES, kill_in_mid_write

    rounds = int(os.environ.get("TOKENKEEPER_KILLS", "20"))
    assert kill_in_mid_write(path, rounds) >= rounds * LEAST_WRITES


def statuses(store):
    return {each.check: each.status for each in store.examine()}


CHECKS = ("reachable", "writable", "permissions", "content", "journal", "schema", "clock", "space")


def test_an_examination(store, path):
    """Nothing is wrong with a usual store, and the examination changes no record."""
    before = store.read("a")
    assert statuses(store) == dict.fromkeys(CHECKS, "ok") | {
        "clock": statuses(store)["clock"]  # depends on the system
    }
    assert store.read("a") == before
    assert "has 1 record" in store.examine()[0].message


def test_an_examination_of_another_journal(store, path):
    """Another journal mode works, with a warning."""
    other = sqlite3.connect(path)
    other.execute("PRAGMA journal_mode = DELETE")
    other.close()
    assert statuses(store)["journal"] == "warning"
    assert store.read("a").sealed == SECRET


def test_an_examination_of_a_locked_store(path):
    """A store that can be read but not written is found out."""
    store = SQLiteTokenStore(path, timeout_seconds=0.01)
    published(store, "a")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        found = {each.check: each for each in store.examine()}
    finally:
        other.close()
    assert found["reachable"].status == "ok"
    assert (found["writable"].status, bool(found["writable"].advice)) == ("problem", True)


def test_an_examination_of_a_full_disk(store, monkeypatch):
    """Little free space is a warning, and a system without a boot id as well."""
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    monkeypatch.setattr("tokenkeeper.stores.boot.BOOT_ID", Path("/nowhere"))
    found = statuses(store)
    assert (found["space"], found["clock"]) == ("warning", "warning")


def test_an_examination_of_an_unknown_disk(store, monkeypatch):
    """Where the free space can't be found out, that is a warning."""

    def fail(path):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("shutil.disk_usage", fail)
    found = {each.check: each for each in store.examine()}["space"]
    assert (found.status, found.message) == (
        "warning",
        "the free space is unknown: Function not implemented",
    )


def test_an_examination_of_damage(store, path):
    """Damage that no operation has met yet is found."""
    content = bytearray(path.read_bytes())
    # The count of cells in the index, whose page is the third.
    content[2 * 4096 + 3 : 2 * 4096 + 5] = b"\0\0"
    other = SQLiteTokenStore(path)
    path.write_bytes(content)
    found = {each.check: each for each in other.examine()}["content"]
    assert found.status == "problem"
    assert "Move it away" in found.advice


def test_an_examination_of_garbage(path):
    """Nothing more is said about a file that can't be read."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"garbage" * 1000)
    path.chmod(0o600)
    (found,) = SQLiteTokenStore(path).examine()
    assert (found.check, found.status) == ("reachable", "problem")
    assert "move it away" in found.advice
