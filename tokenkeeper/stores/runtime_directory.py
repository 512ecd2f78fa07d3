"""The user's runtime directory: in memory, the user's alone, and deleted at logout."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.trust import find_trusted, this_process
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["runtime_directory"]


def runtime_directory() -> Path | None:
    """Return the directory that ``XDG_RUNTIME_DIR`` names, or ``None`` if it names none.

    A relative path is ignored, as the XDG Base Directory Specification says.

    :raises InvalidConfigurationError: if it is another user's, or others can write it. The message
        names the remedy, but not the variable.
    """
    directory = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if not directory.is_absolute():
        return None
    try:
        status = directory.stat()
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    problem = _why_not_ours(directory, status)
    if problem is not None:
        raise InvalidConfigurationError(problem)
    return directory


def _why_not_ours(directory: Path, status: os.stat_result) -> str | None:
    """Return why tokens can't be stored in *directory*, or ``None`` if they can."""
    process = this_process()
    if process is None:
        return None
    # `sudo -E` and `su` leave the variable of another user, and on some hosts all users share one.
    if status.st_uid != process.uid:
        return f"{escaped(directory)} belongs to another user"
    if status.st_mode & 0o022:
        return f"other users can write to {escaped(directory)}. Run: chmod 700 {escaped(directory)}"
    try:
        find_trusted(directory, process)
    except InvalidConfigurationError as error:
        return f"it {error}"
    except OSError as error:
        return f"{escaped(directory)}: {error.strerror}"
    return None
