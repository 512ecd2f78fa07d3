"""Rotation of keys: the order of its steps, and that no process meets a key it does not have."""

import os
from itertools import pairwise

import pytest

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.stores import key_rotation
from tokenkeeper.stores.key_file import (
    FileKeyRing,
    create_key_file,
    new_key,
    read_key_file,
    rotate_key_file,
)
from tokenkeeper.stores.sealed import derived_names_key

needs_owners = pytest.mark.skipif(os.name != "posix", reason="files have no modes on this platform")


@pytest.fixture
def path(tmp_path):
    """Return the path of a new key file."""
    create_key_file(tmp_path / "keys")
    return tmp_path / "keys"


def write(path, *lines):
    path.write_text("\n".join((*lines, "")), encoding="utf-8")
    path.chmod(0o600)


def numbers(path):
    """Return the ids of the keys in their order, without their random part."""
    return [kid.partition("-")[0] for kid in read_key_file(path).kids]


def test_created_file_is_for_its_owner_alone(path):
    """A new file has one key and one that names records, and only its owner can read it."""
    assert numbers(path) == ["k1"]
    assert path.read_text().splitlines()[-1].startswith("names:")
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


def test_existing_file_is_never_overwritten(path):
    """Creating a file that exists is an error, and keeps its keys."""
    before = path.read_bytes()
    with pytest.raises(InvalidConfigurationError) as raised:
        create_key_file(path)
    assert str(raised.value) == (
        f"{path} exists already. Rotate its key with: tokenkeeper store rotate-key"
    )
    assert path.read_bytes() == before


def test_link_is_not_followed_when_a_file_is_created(tmp_path):
    """A link in the way is an existing file, wherever it leads."""
    (tmp_path / "keys").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidConfigurationError, match="exists already"):
        create_key_file(tmp_path / "keys")
    assert not (tmp_path / "elsewhere").exists()


def test_missing_directory(tmp_path):
    """A file can't be created in a directory that does not exist."""
    with pytest.raises(InvalidConfigurationError, match="can't be written: No such file"):
        create_key_file(tmp_path / "nowhere" / "keys")


@needs_owners
def test_directory_that_others_can_write(tmp_path):
    """A file is not created where others can replace it, and no file is left behind."""
    tmp_path.chmod(0o777)
    with pytest.raises(InvalidConfigurationError, match=f"chmod o-w {tmp_path}"):
        create_key_file(tmp_path / "keys")
    assert list(tmp_path.iterdir()) == []


def test_steps_of_a_rotation(path):
    """A key is added behind the first one, then moved to the front; the old one goes last."""
    first = rotate_key_file(path)
    assert (first.step, numbers(path)) == ("added", ["k1", "k2"])
    assert first.kid == read_key_file(path).kids[1]
    second = rotate_key_file(path)
    assert (second.step, numbers(path)) == ("promoted", ["k2", "k1"])
    assert second.kid == first.kid
    third = rotate_key_file(path, drop_unused=True)
    assert (third.step, numbers(path)) == ("dropped", ["k2"])
    assert [kid.partition("-")[0] for kid in third.dropped] == ["k1"]
    assert all("every process" in each.advice for each in (first, second, third))


def test_next_rotation_begins_while_old_keys_remain(path):
    """Without being asked to, rotation drops nothing: a stored token may need any of the keys."""
    for _ in range(4):
        rotate_key_file(path)
    assert numbers(path) == ["k3", "k2", "k1"]
    rotate_key_file(path, drop_unused=True)
    assert numbers(path) == ["k3"]


def test_key_that_was_added_is_not_dropped(path):
    """In the middle of a rotation only the keys before it are unused."""
    for _ in range(3):
        rotate_key_file(path)
    assert numbers(path) == ["k2", "k3", "k1"]
    rotate_key_file(path, drop_unused=True)
    assert numbers(path) == ["k2", "k3"]
    with pytest.raises(InvalidConfigurationError, match="has no unused key to drop"):
        rotate_key_file(path, drop_unused=True)
    assert rotate_key_file(path).step == "promoted"


def test_no_process_ever_meets_an_unknown_key(path, tmp_path):
    """Processes that are one file behind open what others seal, and the other way round."""
    files = [path.read_text()]
    for drops in (False, False, True) * 3:
        rotate_key_file(path, drop_unused=drops)
        files.append(path.read_text())
    rings = []
    for number, text in enumerate(files):
        write(tmp_path / f"{number}", *text.splitlines())
        rings.append(read_key_file(tmp_path / f"{number}"))
    for older, newer in pairwise(rings):
        assert older.record_key("client") == newer.record_key("client")
        assert newer.open(older.seal(b"x", "r", "token"), "r", "token") == b"x"
        assert older.open(newer.seal(b"x", "r", "token"), "r", "token") == b"x"


def test_names_are_written_down(path):
    """A file without a key for names gets a line for it, so that the names stay."""
    write(path, new_key())
    before = read_key_file(path)
    rotate_key_file(path)
    after = read_key_file(path)
    assert after.names_key == before.names_key == derived_names_key(before._keys[before.kids[0]])
    for drops in (False, True):
        rotate_key_file(path, drop_unused=drops)
    assert read_key_file(path).record_key("client") == before.record_key("client")


def test_keys_with_other_ids_are_rotated_as_well(path):
    """Keys with ids that people chose count as older than any that rotation made."""
    key = new_key().partition(":")[2]
    write(path, f"prod:{key}", f"older:{new_key().partition(':')[2]}")
    steps = [rotate_key_file(path).step for _ in range(2)]
    assert steps == ["added", "promoted"]
    kids = read_key_file(path).kids
    assert kids[1:] == ("prod", "older")
    assert rotate_key_file(path, drop_unused=True).dropped == ("prod", "older")


def test_comments_and_order_stay(path):
    """What people wrote into the file stays where it was."""
    keys = [new_key(number) for number in (2, 1)]
    write(path, "# made by Ann", keys[0], "# until June", keys[1], "", "# the end")
    rotate_key_file(path)
    lines = path.read_text().splitlines()
    assert lines[0] == "# made by Ann"
    assert lines[1] == keys[0]
    assert lines[3:7] == ["# until June", keys[1], "", "# the end"]
    rotate_key_file(path)
    assert path.read_text().splitlines()[2] == keys[0]


def test_running_process_follows_a_rotation(path):
    """A process opens what another one sealed with the new key, whenever it looks at the file."""
    behind = FileKeyRing(path)
    for _ in range(3):
        rotate_key_file(path)
        sealed = read_key_file(path).seal(b"x", "r", "token")
        assert behind.open(sealed, "r", "token") == b"x"


@needs_owners
def test_mode_and_link_stay(path, tmp_path):
    """The file is replaced where it is, with its mode; a link to it stays a link."""
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    before = path.stat().st_ino
    rotate_key_file(link)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_ino != before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["keys", "link"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
def test_owner_and_group_stay(path):
    """The file still belongs to the group whose processes read it."""
    os.chown(path, 0, 2345)
    rotate_key_file(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (0, 2345)


def test_failed_write_changes_nothing(path, tmp_path, monkeypatch):
    """A full disk leaves the old file, and no other one."""
    before = path.read_bytes()

    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(key_rotation.os, "fsync", fail)
    with pytest.raises(InvalidConfigurationError) as raised:
        rotate_key_file(path)
    assert str(raised.value) == f"{path} can't be written: No space left on device"
    with pytest.raises(InvalidConfigurationError, match="No space left"):
        create_key_file(tmp_path / "other")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["keys"]


def test_invalid_file_is_not_changed(path):
    """A file with a mistake is not rotated, because what it means is unclear."""
    write(path, "broken")
    with pytest.raises(InvalidConfigurationError, match="line 1"):
        rotate_key_file(path)
    assert path.read_text() == "broken\n"


def test_no_key_is_shown(path):
    """Neither the result of a rotation nor its lines show a key."""
    rotation = rotate_key_file(path)
    key = path.read_text().splitlines()[1].partition(":")[2]
    _, lines = key_rotation.read_lines(path)
    assert key not in repr(rotation)
    assert str(lines[0].key) not in repr(lines)
