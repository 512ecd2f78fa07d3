"""What is kept between two runs of the command: tokens, and why there is none.

One file for each registration, that only its owner can read, without a refresh token: who steals
it has an hour, not a month. A file counts only while both clocks agree on its age, so a reboot,
another machine or a stepped clock costs a request, and never a dead token.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from tokenkeeper.cli.private_directory import PrivateDirectory
from tokenkeeper.clock import Instant
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.models import OAuth2Token
from tokenkeeper.schedule import Deadlines, deadlines

__all__ = ["Failure", "Kept", "Shelf"]

CLOCKS_AGREE_SECONDS = 1.0
"""Clocks that differ by more on a token's age: one of them was stepped, or started anew."""

KEY_NAME = "key"
"""The file with the key of the names."""

KEY_BYTES = 32


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

    Files are named by a keyed hash, whose key is in the directory as well: a name tells nothing of
    the client to whoever sees it elsewhere, in a backup's list or a log.

    :raises InvalidConfigurationError: if others may look into it, or if it can't be made.
    """

    def __init__(self, directory: Path) -> None:
        self._files = PrivateDirectory(directory)
        self.directory = directory

    def file(self, identity: str) -> Path:
        """Return where the token for *identity* is."""
        return self.directory / self._name(identity, "json")

    def read(self, identity: str) -> Kept | None:
        """Return what is kept for *identity*, whether or not it has expired."""
        try:
            content = self._files.read(self._name(identity, "json"))
            return None if content is None else Kept.from_json(content.decode())
        except ValueError:
            return None

    def write(self, identity: str, kept: Kept) -> None:
        """Keep a token, in place of the one before. Readers see the old one or the new one.

        :raises OSError: if it can't be written.
        """
        self._files.write(self._name(identity, "json"), kept.to_json().encode())
        self._files.remove(self._name(identity, "failure"))

    def note(self, identity: str, failure: Failure) -> None:
        """Note why there was no token, until there is one again.

        :raises OSError: if it can't be written.
        """
        content = {"error": failure.error, "failed_at": failure.failed_at.isoformat()}
        self._files.write(self._name(identity, "failure"), json.dumps(content).encode())

    def failure(self, identity: str) -> Failure | None:
        """Return why the last request for *identity* brought no token, if it brought none."""
        try:
            content = json.loads(self._files.read(self._name(identity, "failure")) or b"null")
            return Failure(str(content["error"]), datetime.fromisoformat(content["failed_at"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def forget(self, identity: str | None = None) -> int:
        """Remove what is kept for *identity*, or all; return how many tokens that were.

        :raises InvalidConfigurationError: if the directory does not let go of one.
        """
        try:
            if identity is None:
                # A process that was killed while it wrote left its token under another name.
                endings = (".json", ".failure", ".new")
                names = [name for name in self._files.names() if name.endswith(endings)]
            else:
                names = [self._name(identity, ending) for ending in ("json", "failure")]
            removed = [name for name in names if self._files.remove(name)]
        except OSError as error:
            raise self._files.unfit(error) from None
        return sum(name.endswith(".json") for name in removed)

    @contextmanager
    def lock(self, identity: str) -> Iterator[None]:
        """Let one process at a time ask for the token of *identity*.

        :raises InvalidConfigurationError: if the directory takes no lock.
        """
        name = self._name(identity, "lock")
        lock = FileLock(self.directory / name, mode=0o600)
        try:
            self._files.touch(name)  # FileLock opens what is there, whatever that is
            lock.acquire()
        except OSError as error:
            raise self._files.unfit(error) from None
        try:
            yield
        finally:
            lock.release()

    def _name(self, identity: str, ending: str) -> str:
        return f"{hmac.digest(self._key, identity.encode(), 'sha256').hex()}.{ending}"

    @cached_property
    def _key(self) -> bytes:
        """The key of the names: the directory's, or one that is forgotten where it takes none."""
        new = secrets.token_bytes(KEY_BYTES)
        with suppress(OSError):
            self._files.create(KEY_NAME, new)
        kept = self._files.read(KEY_NAME)
        if kept is None or len(kept) != KEY_BYTES:
            kept = new
            with suppress(OSError):
                self._files.write(KEY_NAME, new)
        return kept
