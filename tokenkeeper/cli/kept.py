"""Tokens that are kept between two runs of the command, so that a script's loop asks once.

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
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from filelock import FileLock

from tokenkeeper import portal
from tokenkeeper.clock import SYSTEM_CLOCK, Clock, Instant, instant
from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.schedule import Deadlines, deadlines

__all__ = ["Kept", "KeptProvider", "Shelf"]

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
        except (AttributeError, KeyError, TypeError, OverflowError, OAuth2Error) as error:
            raise ValueError("this is no kept token") from error


class Shelf:
    """A directory for kept tokens, which only its owner may look into.

    :raises InvalidConfigurationError: if others may, or if it can't be made.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            status = directory.lstat()
        except OSError as error:
            raise InvalidConfigurationError(
                f"{directory} can't keep tokens: {error.strerror}", field="cache"
            ) from None
        if os.name == "posix":
            private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
            if not private or status.st_uid != os.geteuid():
                raise InvalidConfigurationError(
                    f"{directory} can't keep tokens: it must be a directory of yours that nobody "
                    f"else may look into (chmod 700 {directory})",
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
        handle, name = tempfile.mkstemp(dir=self.directory, suffix=".new")  # 0600 from the start
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(kept.to_json())
            Path(name).replace(self.file(identity))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def forget(self, identity: str | None = None) -> int:
        """Remove what is kept for *identity*, or all; return how many tokens that were."""
        files = list(self.directory.glob("*.json")) if identity is None else [self.file(identity)]
        found = [file for file in files if file.exists()]
        for file in found:
            file.unlink(missing_ok=True)
        return len(found)

    def lock(self, identity: str) -> FileLock:
        """Return what lets one process at a time ask for the token of *identity*."""
        return FileLock(self.file(identity).with_suffix(".lock"), mode=0o600)


class KeptProvider(BaseOAuth2Provider):
    """Takes a token from the shelf while it is fresh, and puts there what *provider* grants.

    :param shelf: ``None`` if nothing is kept.
    :param force: ask the server, whatever is kept.
    :ivar current: the token that was handed out last.
    """

    def __init__(
        self,
        provider: BaseOAuth2Provider,
        shelf: Shelf | None,
        identity: str,
        *,
        force: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(
            provider.provider_name, buffer_seconds=provider.buffer_seconds, retry=provider.retry
        )
        self.current: Kept | None = None
        self._provider = provider
        self._shelf = shelf
        self._identity = identity
        self._force = force
        self._clock = clock

    def acquire_token(self) -> OAuth2Token:
        """Return what is kept while that is fresh, or else ask."""
        return self._take_or_ask(
            lambda: portal.call(self._provider.acquire_token),
            will_do=lambda _: not self._force,
        )

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Return what another process has put there since, or else ask."""
        return self._take_or_ask(
            lambda: portal.call(self._provider.refresh_token, token),
            will_do=lambda kept: kept.token.access_token != token.access_token,
        )

    def peek(self) -> Kept | None:
        """Return what is kept and can still be used, without asking anybody."""
        now = instant(self._clock)
        kept = None if self._shelf is None else self._shelf.read(self._identity)
        if kept is None or not kept.is_sound(now):
            return None
        return kept if now.monotonic < kept.deadlines(self.buffer_seconds).dead_at else None

    def _take_or_ask(
        self, ask: Callable[[], OAuth2Token], *, will_do: Callable[[Kept], bool]
    ) -> OAuth2Token:
        with self._shelf.lock(self._identity) if self._shelf else nullcontext():
            kept = self.peek()
            if kept is not None and not will_do(kept):
                kept = None
            now = self._clock.monotonic()
            if kept is None or now >= kept.deadlines(self.buffer_seconds).renew_at:
                asked = instant(self._clock)
                try:
                    kept = Kept(ask(), asked)
                except OAuth2Error:
                    if kept is None:
                        raise  # else nobody's error, while a token works
                else:
                    if self._shelf is not None:
                        self._shelf.write(self._identity, kept)
            self.current = kept
            return kept.token

    def close(self) -> None:
        """Close the provider behind this one."""
        portal.call(self._provider.close)
