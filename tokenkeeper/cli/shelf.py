"""What is kept between two runs of the command: tokens, and why there is none.

One file for each registration, that only its owner can read, without a refresh token: who steals
it has an hour, not a month. A file counts only while both clocks agree on its age, so a reboot,
another machine or a stepped clock costs a request, and never a dead token.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from tokenkeeper.clock import Instant
from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error
from tokenkeeper.models import OAuth2Token
from tokenkeeper.schedule import Deadlines, deadlines

__all__ = ["Failure", "Kept", "Shelf"]

CLOCKS_AGREE_SECONDS = 1.0
"""Clocks that differ by more on a token's age: one of them was stepped, or started anew."""


@dataclass(frozen=True)
class Kept:
    """A token, and when it was asked for on both clocks."""

    token: OAuth2Token = field(repr=False)
    asked: Instant

    @property
    def lifetime_seconds(self) -> float:
        """How long it lives in all."""
        return self.token.expires_at.timestamp() - self.asked.wall

    def deadlines(self, buffer_seconds: float) -> Deadlines:
        """Return its times on the monotonic clock."""
        return deadlines(self.asked.monotonic, self.lifetime_seconds, buffer_seconds, 0.0)

    def is_sound(self, now: Instant) -> bool:
        """Say whether both clocks agree on its age at *now*."""
        by_wall, by_other = now.wall - self.asked.wall, now.monotonic - self.asked.monotonic
        return by_other >= 0 and abs(by_wall - by_other) <= CLOCKS_AGREE_SECONDS

    def to_json(self) -> str:
        """Return it for a file, without a refresh token."""
        content = {
            "access_token": self.token.access_token,
            "token_type": self.token.token_type,
            "expires_at": self.token.expires_at.isoformat(),
            "scope": self.token.scope,
            "asked": self.asked,
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> Kept:
        """Return what :meth:`to_json` wrote.

        :raises ValueError: for anything else.
        """
        try:
            content = json.loads(text)
            asked = Instant(*(float(reading) for reading in content.pop("asked")))
            content["expires_at"] = datetime.fromisoformat(content["expires_at"])
            return cls(OAuth2Token(**content), asked)
        except (
            AttributeError,
            KeyError,
            TypeError,
            OverflowError,
            RecursionError,
            OAuth2Error,
        ) as error:
            raise ValueError("this is no kept token") from error


@dataclass(frozen=True)
class Failure:
    """Why the last request brought no token, in words without a secret, and when that was."""

    error: str
    failed_at: datetime


class Shelf:
    """A directory for kept tokens, which only its owner may look into.

    :raises InvalidConfigurationError: if others may, or if it can't be made.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            status = directory.lstat()
        except OSError as error:
            raise _unfit(directory, error) from None
        if os.name == "posix":
            private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
            if not private or status.st_uid != os.geteuid():
                # /tmp and its like are everybody's, and are to stay so.
                shared = status.st_mode & stat.S_ISVTX
                remedy = f"mkdir -m 700 {directory}/NAME" if shared else f"chmod 700 {directory}"
                raise InvalidConfigurationError(
                    f"{directory} can't keep tokens: it must be a directory of yours that nobody "
                    f"else may look into ({remedy})",
                    field="cache",
                )
        self.directory = directory

    def file(self, identity: str) -> Path:
        """Return where the token for *identity* is."""
        # The secret is in the identity, so a rotated one begins with a new file.
        return self.directory / f"{hashlib.sha256(identity.encode()).hexdigest()}.json"

    def read(self, identity: str) -> Kept | None:
        """Return what is kept for *identity*, whether or not it has ended."""
        try:
            return Kept.from_json(self.file(identity).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, identity: str, kept: Kept) -> None:
        """Keep a token in the place of the one before. Readers see the old one or the new one."""
        self._put(self.file(identity), kept.to_json())
        self._failure_file(identity).unlink(missing_ok=True)

    def note(self, identity: str, failure: Failure) -> None:
        """Note why there was no token, until there is one again."""
        content = {"error": failure.error, "failed_at": failure.failed_at.isoformat()}
        self._put(self._failure_file(identity), json.dumps(content))

    def failure(self, identity: str) -> Failure | None:
        """Return why the last request for *identity* brought no token, if it brought none."""
        try:
            content = json.loads(self._failure_file(identity).read_text(encoding="utf-8"))
            return Failure(content["error"], datetime.fromisoformat(content["failed_at"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _failure_file(self, identity: str) -> Path:
        return self.file(identity).with_suffix(".failure")

    def _put(self, place: Path, text: str) -> None:
        handle, name = tempfile.mkstemp(dir=self.directory, suffix=".new")  # 0600 from the start
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(place)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def forget(self, identity: str | None = None) -> int:
        """Remove what is kept for *identity*, or all; return how many tokens that were.

        :raises InvalidConfigurationError: if the directory does not let go of one.
        """
        if identity is None:
            files = list(self.directory.glob("*.json"))
            # A process that was killed while it wrote left its token behind under another name.
            rest = [*self.directory.glob("*.new"), *self.directory.glob("*.failure")]
        else:
            files, rest = [self.file(identity)], [self._failure_file(identity)]
        found = [file for file in files if file.exists()]
        try:
            for file in (*found, *rest):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise _unfit(self.directory, error) from None
        return len(found)

    @contextmanager
    def lock(self, identity: str) -> Iterator[None]:
        """Let one process at a time ask for the token of *identity*.

        :raises InvalidConfigurationError: if the directory takes no lock.
        """
        lock = FileLock(self.file(identity).with_suffix(".lock"), mode=0o600)
        try:
            lock.acquire()
        except OSError as error:
            raise _unfit(self.directory, error) from None
        try:
            yield
        finally:
            lock.release()


def _unfit(directory: Path, error: OSError) -> InvalidConfigurationError:
    return InvalidConfigurationError(
        f"{directory} can't keep tokens: {error.strerror}", field="cache"
    )
