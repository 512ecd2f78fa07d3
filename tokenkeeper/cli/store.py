"""Tokens, and the reasons of failures, that the command stores between runs.

Each token has a file that only its owner can read. It contains no refresh token, so a stolen file
is useful for an hour, not for a month. A stored token is used only while both clocks agree on
its age, so a reboot, another machine or a changed clock costs a request, never an expired token.
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
from typing import Any

from filelock import FileLock

from tokenkeeper.clock import Instant
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.models import OAuth2Token
from tokenkeeper.schedule import Deadlines, deadlines
from tokenkeeper.stores.private_directory import PrivateDirectory

__all__ = ["Failure", "StoredToken", "TokenDirectory"]

CLOCKS_AGREE_SECONDS = 1.0
"""If the clocks differ by more on a token's age, one of them was changed or restarted."""

KEY_NAME = "key"
"""The file with the key that hashes the names."""

KEY_BYTES = 32

ENDINGS = (".json", ".failure")
"""Of the files with a token, and with the reason why there is none."""


@dataclass(frozen=True)
class StoredToken:
    """A token, and when it was requested on both clocks."""

    token: OAuth2Token = field(repr=False)
    requested: Instant

    @property
    def lifetime_seconds(self) -> float:
        """Its whole lifetime."""
        return self.token.expires_at.timestamp() - self.requested.wall

    def deadlines(self, buffer_seconds: float) -> Deadlines:
        """Return its deadlines on the monotonic clock."""
        return deadlines(self.requested.monotonic, self.lifetime_seconds, buffer_seconds, 0.0)

    def is_sound(self, now: Instant) -> bool:
        """Return whether both clocks agree on its age at *now*."""
        by_wall = now.wall - self.requested.wall
        by_monotonic = now.monotonic - self.requested.monotonic
        return by_monotonic >= 0 and abs(by_wall - by_monotonic) <= CLOCKS_AGREE_SECONDS

    def to_json(self) -> str:
        """Return the content of its file, without a refresh token."""
        content = {
            "access_token": self.token.access_token,
            "token_type": self.token.token_type,
            "expires_at": self.token.expires_at.isoformat(),
            "scope": self.token.scope,
            "asked": self.requested,
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> StoredToken:
        """Return what :meth:`to_json` wrote.

        :raises ValueError: for anything else.
        """
        try:
            content = json.loads(text)
            content.pop("parameters", None)
            requested = Instant(*(float(reading) for reading in content.pop("asked")))
            content["expires_at"] = datetime.fromisoformat(content["expires_at"])
            return cls(OAuth2Token(**content), requested)
        except (
            AttributeError,
            KeyError,
            TypeError,
            OverflowError,
            RecursionError,
            OAuth2Error,
        ) as error:
            raise ValueError("not a stored token") from error


@dataclass(frozen=True)
class Failure:
    """Why the last request failed, without a secret, and when."""

    error: str
    failed_at: datetime


class TokenDirectory:
    """A directory of stored tokens that only its owner can read.

    Files are named by a keyed hash, and the key is in the directory as well. So a name that shows
    up elsewhere, in the list of a backup or in a log, reveals nothing about the client.

    *identity* is that of a provider's spec. *parameters* are what was asked for beyond the
    registration, as in a token's name; by default nothing.

    :raises InvalidConfigurationError: if others can read the directory, or it can't be made.
    """

    def __init__(self, directory: Path) -> None:
        self._files = PrivateDirectory(directory)
        self.directory = directory

    def file(self, identity: str, parameters: str = "") -> Path:
        """Return the path of the token file of *identity*."""
        return self.directory / self._name(identity, parameters, "json")

    def read(self, identity: str, parameters: str = "") -> StoredToken | None:
        """Return the stored token of *identity*, expired or not."""
        try:
            content = self._files.read(self._name(identity, parameters, "json"))
            return None if content is None else StoredToken.from_json(content.decode())
        except ValueError:
            return None

    def parameters_of(self, identity: str) -> list[str]:
        """Return with which parameters tokens of *identity* are stored, or failures."""
        found = set()
        for name in self._files.names():
            if name.startswith(f"{self._hashed(identity)}-") and name.endswith(ENDINGS):
                with suppress(ValueError, KeyError, TypeError, RecursionError):
                    found.add(str(json.loads(self._files.read(name) or b"null")["parameters"]))
        return sorted(found)

    def write(self, identity: str, token: StoredToken, parameters: str = "") -> None:
        """Store a token in place of the one before. Readers see the old one or the new one.

        :raises OSError: if it can't be written.
        """
        name = self._name(identity, parameters, "json")
        self._files.write(name, _content(parameters, json.loads(token.to_json())))
        self._files.remove(self._name(identity, parameters, "failure"))

    def note(self, identity: str, failure: Failure, parameters: str = "") -> None:
        """Store why a request failed, until one succeeds.

        :raises OSError: if it can't be written.
        """
        content = {"error": failure.error, "failed_at": failure.failed_at.isoformat()}
        self._files.write(
            self._name(identity, parameters, "failure"), _content(parameters, content)
        )

    def failure(self, identity: str, parameters: str = "") -> Failure | None:
        """Return why the last request for *identity* failed, or ``None`` if it succeeded."""
        try:
            content = json.loads(
                self._files.read(self._name(identity, parameters, "failure")) or b"null"
            )
            return Failure(str(content["error"]), datetime.fromisoformat(content["failed_at"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def forget(self, identity: str | None = None, parameters: str | None = None) -> int:
        """Remove what is stored, and return how many tokens it was.

        :param identity: whose tokens to remove; everything by default.
        :param parameters: which one of its tokens to remove; all of them by default.
        :raises InvalidConfigurationError: if a file can't be removed.
        """
        try:
            if identity is None:
                # A process that is killed while it writes leaves its token under another name.
                names = [name for name in self._files.names() if name.endswith((*ENDINGS, ".new"))]
            elif parameters is None:
                own = (f"{self._hashed(identity)}.", f"{self._hashed(identity)}-")
                names = [name for name in self._files.names() if name.startswith(own)]
                names = [name for name in names if name.endswith(ENDINGS)]
            else:
                names = [self._name(identity, parameters, ending) for ending in ("json", "failure")]
            removed = [name for name in names if self._files.remove(name)]
        except OSError as error:
            raise self._files.unfit(error) from None
        return sum(name.endswith(".json") for name in removed)

    @contextmanager
    def lock(self, identity: str, parameters: str = "") -> Iterator[None]:
        """Let one process at a time request the token of *identity*.

        :raises InvalidConfigurationError: if there can be no lock in the directory.
        """
        name = self._name(identity, parameters, "lock")
        lock = FileLock(self.directory / name, mode=0o600)
        try:
            self._files.touch(name)  # FileLock opens any file that it finds
            lock.acquire()
        except OSError as error:
            raise self._files.unfit(error) from None
        try:
            yield
        finally:
            lock.release()

    def _name(self, identity: str, parameters: str, ending: str) -> str:
        name = self._hashed(identity)
        if parameters:
            name += f"-{self._hashed(identity + parameters)}"
        return f"{name}.{ending}"

    def _hashed(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    @cached_property
    def _key(self) -> bytes:
        """The key that hashes the names: the stored one, or a temporary one."""
        new = secrets.token_bytes(KEY_BYTES)
        with suppress(OSError):
            self._files.create(KEY_NAME, new)
        stored = self._files.read(KEY_NAME)
        if stored is None or len(stored) != KEY_BYTES:
            stored = new
            with suppress(OSError):
                self._files.write(KEY_NAME, new)
        return stored


def _content(parameters: str, content: dict[str, Any]) -> bytes:
    if parameters:
        content["parameters"] = parameters
    return json.dumps(content).encode()
