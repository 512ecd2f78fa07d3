"""A text that is read when it is needed, because it lives shortly: from a file, or by a call."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error, TokenAcquisitionError

__all__ = ["LateText", "checked_late_text", "read_late"]

LateText = Callable[[], str] | os.PathLike[str]
"""A callable, such as a :class:`~tokenkeeper.TokenSource`, or the path of a file."""

_LONGEST = 64 * 1024
"""In bytes. A token has a few thousand; a larger file is another one."""


def checked_late_text(value: object, field: str) -> LateText:
    """Return *value* if it can be read later.

    :raises InvalidConfigurationError: for anything else, such as a path with a control character. A
        string is refused: it could be a path or a token, and a token would soon have expired.
    """
    if isinstance(value, os.PathLike):
        checked_text(os.fspath(value), field)
        return value
    if callable(value):
        return value
    raise InvalidConfigurationError(
        f"{field} must be a callable that returns the token, such as a TokenSource, or a Path, not "
        f"{type(value).__name__}",
        field=field,
    )


def read_late(value: LateText, what: str) -> str:
    """Return the text that *value* stands for now, without outer spaces.

    :param what: what it is, for messages.
    :raises OAuth2Error: if it can't be read or is empty. Messages do not show it.
    """
    text = _read_file(Path(value), what) if isinstance(value, os.PathLike) else _call(value, what)
    text = text.strip()
    if not text:
        raise TokenAcquisitionError(f"{what} is empty", transient=True)
    return text


def _call(value: Callable[[], str], what: str) -> str:
    try:
        text: object = value()
    except (OAuth2Error, ConnectionError, TimeoutError):
        raise
    except Exception as error:  # noqa: BLE001 - its text may contain a secret
        failure = TokenAcquisitionError(
            f"{what} could not be had: its callable raised {type(error).__name__}", transient=False
        )
    else:
        if isinstance(text, str):
            return text
        failure = TokenAcquisitionError(
            f"{what} could not be had: its callable returned {type(text).__name__}, not a string",
            transient=False,
        )
    raise failure  # out here, so that it has no context


def _read_file(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            problem = f"is larger than {_LONGEST // 1024} KiB"
        else:
            return content.decode("utf-8-sig")  # a password may have any letter
    except UnicodeDecodeError:
        problem = "is not text"
    except (OSError, ValueError) as error:  # ValueError: no file has such a name
        problem = f"can't be read: {getattr(error, 'strerror', None) or type(error).__name__}"
    raise TokenAcquisitionError(f"{what}: {path} {problem}", transient=True)
