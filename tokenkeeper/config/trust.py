"""Decides which files to trust: like ssh, those that no other user can write or replace.

A user who can write a configuration can send the client secret to another server. So can a user
who can replace one of the directories above it.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenkeeper._support.escaping import escaped
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["Writer", "distrusted_file", "find_trusted", "this_process"]

MOST_LINKS = 40
"""The most symbolic links on one path, as in Linux."""

ROOT = 0


@dataclass(frozen=True)
class Writer:
    """A user and its groups, which are trusted to write."""

    uid: int
    groups: frozenset[int]


def this_process() -> Writer | None:
    """Return the user of this process; ``None`` on systems without owners, such as Windows."""
    if os.name != "posix":
        return None
    return Writer(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


def find_trusted(path: Path, writer: Writer | None) -> Path:
    """Return *path* with its links resolved.

    Checks every directory on the path from the root down, including those of each link and of its
    target. Other users can't change anything below a trusted directory, so the check still holds
    when the file is opened. :func:`distrusted_file` checks the file itself.

    :raises InvalidConfigurationError: naming the directories that other users can write, and the
        commands that fix it, without the name of the file.
    :raises OSError: if the file does not exist.
    """
    if writer is None:
        return path
    faults: dict[str, _Fault] = {}
    place = ""
    for place, status in _steps(path):
        if stat.S_ISLNK(status.st_mode):
            fault = _foreign(place, status, writer)  # the mode of a link has no meaning
        elif stat.S_ISDIR(status.st_mode):
            fault = _fault(place, status, writer)
        else:
            continue
        if fault is not None:
            faults[place] = fault
    if faults:
        raise _refusal(list(faults.values()))
    return Path(place)


def distrusted_file(
    place: Path, status: os.stat_result, writer: Writer | None
) -> InvalidConfigurationError | None:
    """Return why the open file *place* with *status* can't be trusted, or ``None``."""
    fault = writer and _fault(str(place), status, writer)
    return _refusal([fault]) if fault else None


@dataclass(frozen=True)
class _Fault:
    """Why a file or directory can't be trusted, and the command that fixes it."""

    what: str
    command: str


def _fault(place: str, status: os.stat_result, writer: Writer) -> _Fault | None:
    foreign = _foreign(place, status, writer)
    if foreign is not None:
        return foreign
    shared = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if shared:
        return None  # other users can't replace our files, or root's, there
    by_all = status.st_mode & stat.S_IWOTH
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid not in writer.groups
    if not by_all and not by_group:
        return None
    who = "every user" if by_all else f"the group {_name_of_group(status.st_gid)}"
    letters = ("g" if by_group else "") + ("o" if by_all else "")
    return _Fault(f"{who} can write {escaped(place)}", f"chmod {letters}-w {_quoted(place)}")


def _foreign(place: str, status: os.stat_result, writer: Writer) -> _Fault | None:
    if status.st_uid in (writer.uid, ROOT):
        return None
    owner = f"{escaped(place)} belongs to {_name_of_user(status.st_uid)}"
    link = "-h " if stat.S_ISLNK(status.st_mode) else ""
    return _Fault(owner, f"chown {link}{_name_of_user(writer.uid)} {_quoted(place)}")


def _refusal(faults: list[_Fault]) -> InvalidConfigurationError:
    what = ", and ".join(fault.what for fault in faults)
    commands = " && ".join(fault.command for fault in faults)
    return InvalidConfigurationError(
        f"can't be trusted: {what}, and could change its content. Run: {commands}"
    )


def _steps(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every directory and link on the way to *path*, from the root down, and *path*.

    After a link come the directories of its target.
    """
    whole = os.path.join(os.getcwd(), path)
    place, links = "/", 0
    yield place, os.lstat(place)
    rest = [part for part in reversed(whole.split("/")) if part]
    while rest:
        part = rest.pop()
        if part == ".":
            continue
        if part == "..":
            place = os.path.dirname(place)
            continue
        step = os.path.join(place, part)
        status = os.lstat(step)
        yield step, status
        if not stat.S_ISLNK(status.st_mode):
            place = step
            continue
        links += 1
        if links > MOST_LINKS:
            os.stat(path)  # raises the system's error
            return
        target = os.readlink(step)
        if target.startswith("/"):
            place = "/"
        rest += [part for part in reversed(target.split("/")) if part]
    yield place, os.lstat(place)


@cache
def _name_of_user(uid: int) -> str:
    import pwd

    try:
        return escaped(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return str(uid)


@cache
def _name_of_group(gid: int) -> str:
    import grp

    try:
        return escaped(grp.getgrgid(gid).gr_name)
    except KeyError:
        return str(gid)


def _quoted(place: str) -> str:
    """Return *place* quoted for a shell."""
    return shlex.quote(place) if place.isprintable() else f"$'{_ansi_c(place)}'"


def _ansi_c(place: str) -> str:
    return escaped(place.replace("\\", "\\\\").replace("'", "\\'"))
