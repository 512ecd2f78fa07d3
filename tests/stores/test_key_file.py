"""Key files: what is accepted, the words of each rejection, and how a ring follows its file."""

import base64
import os
import pickle
import threading
from pathlib import Path

import pytest
from kit.processes import exit_code_of

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.stores.key_file import CHECK_SECONDS, FileKeyRing, new_key, read_key_file
from tokenkeeper.stores.sealed import KEY_BYTES, KeyRing, UnreadableError, derived_names_key
from tokenkeeper.testing import SteppedClock

needs_owners = pytest.mark.skipif(os.name != "posix", reason="files have no modes on this platform")

KEYS = {name: bytes([number]) * KEY_BYTES for number, name in enumerate("abcn", 1)}
TEXTS = {name: base64.b64encode(key).decode() for name, key in KEYS.items()}
A, B, C = (f"{name}:{TEXTS[name]}" for name in "abc")
NAMES = f"names:{TEXTS['n']}"


@pytest.fixture
def write(tmp_path):
    """Write a key file for its owner alone, atomically as deployment tools do."""

    def write(*lines, mode=0o600, name="keys"):
        path, new = tmp_path / name, tmp_path / f"{name}.new"
        new.write_text("\n".join((*lines, "")), encoding="utf-8")
        new.chmod(mode)
        new.replace(path)
        return path

    return write


def test_first_key_seals_and_all_open(write):
    """Comments, blank lines and spaces around a line mean nothing; the order of keys does."""
    ring = read_key_file(write("# ours", "", f"  {B}  ", A, NAMES))
    assert ring.kids == ("b", "a")
    assert ring.names_key == KEYS["n"]
    assert ring.seal(b"x", "r", "token").startswith(b"1.b.")
    old = KeyRing({"a": KEYS["a"]})
    assert ring.open(old.seal(b"x", "r", "token"), "r", "token") == b"x"


def test_names_key_is_derived_from_the_last_key(write):
    """Without a line for it, the key that names records stays when a key is put in front."""
    before, after = read_key_file(write(A)), read_key_file(write(B, A))
    assert before.names_key == after.names_key == derived_names_key(KEYS["a"])


def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path):
    """A file that was edited on Windows is read like any other."""
    path = tmp_path / "keys"
    path.write_bytes(b"\xef\xbb\xbf" + f"{A}\r\n{NAMES}\r\n".encode())
    path.chmod(0o600)
    assert read_key_file(path).kids == ("a",)


SHORT = base64.b64encode(b"s" * 31).decode()
LONG = base64.b64encode(b"s" * 33).decode()
CREATE = "Create a line with: tokenkeeper store new-key"
ID = f"the id must be 1 to 32 letters, digits, '-' or '_'. {CREATE}"

INVALID = {
    "empty": ([""], f" contains no key. {CREATE}"),
    "only comments": (["# a:b", "  # c"], f" contains no key. {CREATE}"),
    "only the names": ([NAMES], f" contains no key. {CREATE}"),
    "too short": ([A, f"b:{SHORT}"], f", line 2: the key 'b' has 31 bytes, and needs 32. {CREATE}"),
    "too long": ([f"b:{LONG}"], f", line 1: the key 'b' has 33 bytes, and needs 32. {CREATE}"),
    "no key": ([A, "", "b:"], f", line 3: the key 'b' has 0 bytes, and needs 32. {CREATE}"),
    "short names": (
        [A, f"names:{SHORT}"],
        f", line 2: the key 'names' has 31 bytes, and needs 32. {CREATE}",
    ),
    "not base64": ([f"a:{TEXTS['a']}!"], f", line 1: the key 'a' is not valid base64. {CREATE}"),
    "url-safe": (
        ["a:" + "_" * 43 + "="],
        f", line 1: the key 'a' is not valid base64. {CREATE}",
    ),
    "cut short": ([f"a:{TEXTS['a'][:-2]}"], f", line 1: the key 'a' is not valid base64. {CREATE}"),
    "not ASCII": (["a:clé"], f", line 1: the key 'a' is not valid base64. {CREATE}"),
    "duplicate": ([A, B, A], ", line 3: duplicate id 'a', which line 1 has. Remove one"),
    "two names": (
        [A, NAMES, NAMES],
        ", line 3: duplicate id 'names', which line 2 has. Remove one",
    ),
    "no colon": ([TEXTS["a"]], f", line 1: must be an id, a colon and a key. {CREATE}"),
    "no id": ([f":{TEXTS['a']}"], f", line 1: {ID}"),
    "dot": ([f"a.b:{TEXTS['a']}"], f", line 1: {ID}"),
    "space": ([f"a b:{TEXTS['a']}"], f", line 1: {ID}"),
    "long id": ([f"{'a' * 33}:{TEXTS['a']}"], f", line 1: {ID}"),
    "swapped": ([f"{TEXTS['a']}:a"], f", line 1: {ID}"),
    "foreign letters": ([f"ключ:{TEXTS['a']}"], f", line 1: {ID}"),
    "YAML": ([f"a: {TEXTS['a']}", "b"], f", line 2: must be an id, a colon and a key. {CREATE}"),
}


@pytest.mark.parametrize(("lines", "expected"), INVALID.values(), ids=INVALID)
def test_mistakes_name_line_and_remedy(write, lines, expected):
    """A file that is not valid is rejected in one line, which contains no key."""
    path = write(*lines)
    with pytest.raises(InvalidConfigurationError) as raised:
        read_key_file(path)
    message = str(raised.value)
    assert message == f"{path}{expected}"
    assert raised.value.field == "key_file"
    assert not any(secret in message for secret in (*TEXTS.values(), SHORT, LONG))


def test_missing_file(tmp_path):
    """A file that does not exist is rejected with the command that creates it."""
    with pytest.raises(InvalidConfigurationError) as raised:
        read_key_file(tmp_path / "keys")
    assert str(raised.value) == (
        f"{tmp_path / 'keys'} can't be read: No such file or directory. Create it with: "
        "tokenkeeper store new-key"
    )


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a" * (1024 * 1024 + 1)], ids=["bytes", "huge"])
def test_what_is_not_a_text_is_rejected(tmp_path, content):
    """Binary data and a huge file are rejected, and so is a directory."""
    path = tmp_path / "keys"
    path.write_bytes(content)
    for place in (path, tmp_path):
        with pytest.raises(InvalidConfigurationError, match="can't be read"):
            read_key_file(place)


@needs_owners
@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_file_that_others_can_write_is_rejected(write, mode):
    """A user who can write the file can read all tokens, so it is rejected with the remedy."""
    path = write(A, mode=mode)
    with pytest.raises(InvalidConfigurationError, match=f"Run: chmod o-w {path}$"):
        read_key_file(path)


@needs_owners
def test_directory_that_others_can_write_is_rejected(write, tmp_path):
    """A file that another user can replace is rejected as well."""
    path = write(A)
    tmp_path.chmod(0o757)
    with pytest.raises(InvalidConfigurationError, match=f"chmod o-w {tmp_path}"):
        read_key_file(path)


@needs_owners
@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640, 0o644])
def test_mounted_secret_is_read(tmp_path, mode):
    """A secret that Kubernetes mounts is a link to a link, and may be readable by others."""
    volume = tmp_path / "..2026_11_29"
    volume.mkdir()
    (volume / "keys").write_text(f"{A}\n")
    (volume / "keys").chmod(mode)
    (tmp_path / "..data").symlink_to(volume.name)
    (tmp_path / "keys").symlink_to("..data/keys")
    assert read_key_file(tmp_path / "keys").kids == ("a",)


def test_new_key_is_a_line_of_a_key_file(write):
    """Each new key is random, has an id with its number, and is accepted."""
    lines = [new_key(), new_key(2), new_key(2)]
    kids = read_key_file(write(*lines)).kids
    assert [kid.partition("-")[0] for kid in kids] == ["k1", "k2", "k2"]
    assert len({line.partition(":")[2] for line in lines}) == 3


# ---- a ring that follows its file


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return SteppedClock()


def count_reads(monkeypatch):
    """Return a list that gets an entry each time a key file is read."""
    from tokenkeeper.stores import key_file

    reads = []
    read = key_file.read_key_file
    monkeypatch.setattr(key_file, "read_key_file", lambda path: reads.append(path) or read(path))
    return reads


def test_change_is_noticed_after_a_while(write, clock):
    """A ring looks at its file every few seconds, to the tick, and then seals with the new key."""
    ring = FileKeyRing(write(A), clock)
    write(B, A)
    clock.step(CHECK_SECONDS - 0.001)
    assert ring.kids == ("a",)
    clock.step(0.001)
    assert ring.seal(b"x", "r", "token").startswith(b"1.b.")


def test_what_another_key_sealed_is_not_current(write, clock):
    """Once another key comes first, what the one before sealed should be sealed again."""
    ring = FileKeyRing(write(A, NAMES), clock)
    sealed = ring.seal(b"text", "key", "token")
    assert ring.is_current(sealed)
    write(B, A, NAMES)
    clock.step(CHECK_SECONDS)
    assert not ring.is_current(sealed)
    assert ring.is_current(ring.seal(b"text", "key", "token"))


def test_unknown_key_is_looked_for_immediately(write, clock):
    """A text that another process sealed with a new key opens before the next look is due."""
    ring = FileKeyRing(write(A), clock)
    path = write(B, A)
    sealed = read_key_file(path).seal(b"x", "r", "token")
    assert ring.open(sealed, "r", "token") == b"x"
    assert ring.kids == ("b", "a")


def test_replaced_key_of_the_same_id_is_looked_for_as_well(write, clock):
    """A file whose key was replaced under the same id is read again when a text does not open."""
    ring = FileKeyRing(write(A), clock)
    path = write(f"a:{TEXTS['b']}")
    sealed = read_key_file(path).seal(b"x", "r", "token")
    assert ring.open(sealed, "r", "token") == b"x"


def test_unchanged_file_is_not_read_again(write, clock, monkeypatch):
    """Forged texts in a store cost no read of the file, and neither does time."""
    ring = FileKeyRing(write(A), clock)
    reads = count_reads(monkeypatch)
    for _ in range(3):
        clock.step(CHECK_SECONDS)
        with pytest.raises(UnreadableError, match="'z'"):
            ring.open(b"1.z." + b"f" * 40, "r", "token")
    assert reads == []


def test_invalid_file_keeps_the_keys_and_warns_once(write, clock, caplog):
    """A file that became invalid is logged once for each reason, and the last keys stay."""
    path = write(A)
    ring = FileKeyRing(path, clock)
    sealed = ring.seal(b"x", "r", "token")
    for lines in (["a:broken"], ["a:broken"], [""], None, None):
        if lines is None:
            path.unlink(missing_ok=True)
        else:
            write(*lines)
        clock.step(CHECK_SECONDS)
        assert ring.open(sealed, "r", "token") == b"x"
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 3
    assert all("the last valid keys are used" in warning for warning in warnings)
    assert "line 1" in warnings[0]
    assert "broken" not in caplog.text


def test_fixed_file_is_used_again(write, clock, caplog):
    """Once the file is valid again it is used, and a later mistake is logged again."""
    ring = FileKeyRing(write(A), clock)
    for lines in (["broken"], [B, A], ["broken"]):
        write(*lines)
        clock.step(CHECK_SECONDS)
        ring.seal(b"x", "r", "token")
    assert ring.kids == ("b", "a")
    assert len(caplog.records) == 2


@needs_owners
def test_fixed_directory_is_noticed(write, clock, tmp_path, caplog):
    """A directory that was opened to others and closed again changes nothing in the file."""
    ring = FileKeyRing(write(A), clock)
    write(B, A)
    tmp_path.chmod(0o777)
    clock.step(CHECK_SECONDS)
    assert ring.kids == ("a",)
    tmp_path.chmod(0o700)
    clock.step(CHECK_SECONDS)
    assert ring.kids == ("b", "a")
    assert len(caplog.records) == 1


@needs_owners
def test_swapped_link_is_noticed(tmp_path, clock):
    """Kubernetes updates a mounted secret by replacing a link above the file."""
    for number, line in ((1, A), (2, B)):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "keys").write_text(f"{line}\n")
    data = tmp_path / "..data"
    data.symlink_to("v1")
    ring = FileKeyRing(data / "keys", clock)
    (tmp_path / "..tmp").symlink_to("v2")
    (tmp_path / "..tmp").rename(data)
    clock.step(CHECK_SECONDS)
    assert ring.kids == ("b",)


@needs_owners
def test_link_that_is_swapped_back_is_noticed(tmp_path, clock, caplog):
    """A mistake that was undone by going back to the old file is logged again if it comes back."""
    for number, line in ((1, A), (2, "broken")):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "keys").write_text(f"{line}\n")
    data = tmp_path / "..data"
    data.symlink_to("v1")
    ring = FileKeyRing(data / "keys", clock)
    for version in ("v2", "v1", "v2"):
        data.unlink()
        data.symlink_to(version)
        clock.step(CHECK_SECONDS)
        assert ring.kids == ("a",)
    assert len(caplog.records) == 2


def test_changed_names_are_logged(write, clock, caplog):
    """If the key that names records changes, the log says that tokens are not found any more."""
    ring = FileKeyRing(write(A, NAMES), clock)
    before = ring.record_key("client")
    write(A, f"names:{TEXTS['c']}")
    clock.step(CHECK_SECONDS)
    assert ring.record_key("client") != before
    assert "names records changed" in caplog.text
    assert TEXTS["c"] not in caplog.text


def test_names_stay_when_keys_change(write, clock):
    """Other keys don't change the names of records."""
    ring = FileKeyRing(write(A, NAMES), clock)
    before = ring.record_key("client")
    write(C, B, NAMES)
    clock.step(CHECK_SECONDS)
    assert ring.record_key("client") == before
    assert ring.kids == ("c", "b")


def test_invalid_file_at_the_beginning_is_an_error(write):
    """A process does not start with a key file that is not valid."""
    with pytest.raises(InvalidConfigurationError, match="line 1"):
        FileKeyRing(write("broken"))


def test_ring_shows_no_key(write):
    """The representation has the file and the ids of its keys."""
    path = write(A, NAMES)
    shown = repr(FileKeyRing(path))
    assert shown == f"FileKeyRing({str(path)!r}, a)"
    assert TEXTS["a"] not in repr(vars(FileKeyRing(path)))


def test_threads_share_a_ring_while_its_keys_are_rotated(write, clock):
    """Texts that threads seal during a rotation open in every one of them."""
    ring = FileKeyRing(write(A, NAMES), clock)
    steps = [(A, B, NAMES), (B, A, NAMES), (C, B, A, NAMES)]
    sealed = [ring.seal(b"x", "r", "token")]
    failures = []
    done = threading.Event()

    def work():
        while not done.is_set():
            clock.step(CHECK_SECONDS)
            try:
                sealed[0] = ring.seal(b"x", "r", "token")
                ring.open(sealed[0], "r", "token")
            except Exception as error:  # noqa: BLE001 - any is a failure
                failures.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for lines in steps:
        write(*lines)
        clock.step(CHECK_SECONDS)
        assert ring.open(ring.seal(b"x", "r", "token"), "r", "token") == b"x"
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    clock.step(CHECK_SECONDS)  # a thread may have read the file before the last change
    assert ring.open(sealed[0], "r", "token") == b"x"
    assert ring.kids == ("c", "b", "a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_child_follows_the_file_as_well(write, clock):
    """A forked child opens what its parent sealed, and notices a new key."""
    ring = FileKeyRing(write(A, NAMES), clock)
    sealed = ring.seal(b"x", "r", "token")

    def child():
        assert ring.open(sealed, "r", "token") == b"x"
        new = read_key_file(write(B, A, NAMES)).seal(b"y", "r", "token")
        return 0 if ring.open(new, "r", "token") == b"y" else 1

    assert exit_code_of(child) == 0


def test_error_travels(write):
    """The error of a key file can be pickled, as every error can."""
    with pytest.raises(InvalidConfigurationError) as raised:
        read_key_file(write("broken"))
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_path_is_shown_without_control_characters(tmp_path):
    """A path with a line break does not break the message into two lines."""
    with pytest.raises(InvalidConfigurationError) as raised:
        read_key_file(Path(tmp_path) / "a\nb")
    assert "\n" not in str(raised.value)
