"""What a store is configured with, from code, a file or the environment, and what is wrong with it.

Nothing is opened here, so a configuration can be checked, and compared with another one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote, unquote

from tokenkeeper._support.arguments import type_of
from tokenkeeper._support.checks import checked_seconds, checked_text
from tokenkeeper.config.files import located
from tokenkeeper.config.problems import shortened
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.kinds import did_you_mean, nearest_to
from tokenkeeper.stores.base import TokenStore
from tokenkeeper.stores.engines import engine_of
from tokenkeeper.stores.key_file import read_key_file

__all__ = ["KEYS", "NO_KEY", "Note", "StoreOptions", "WhenUnavailable", "read_options"]

WhenUnavailable = Literal["alone", "wait"]
"""What a keeper does while the store is unavailable: request tokens alone, or wait for it."""

KEYS = ("url", "store", "key_file", "timeout_seconds", "when_unavailable", "encrypt", "detached")
"""The keys of a mapping."""

Note = Callable[[str, str], None]
"""Takes the key that is wrong, "" for all of it, and the rest of a sentence about its value.

If that begins with a colon, the key is unknown, and it is a sentence about the mapping."""

_RELATIVE_FILE = re.compile(r"sqlite:///(?!:memory:)([^/?#][^?#]*(?<!/))")

NO_KEY = (
    "needs a key, because others may read the store. Set key_file (create one with: tokenkeeper "
    "store new-key), or encrypt: false if only this fleet can read it"
)
"""What is noted for a store that others may read, without a key."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """A valid configuration of a store. Immutable; equal options mean equal stores.

    :ivar url: its URL; "" if *store* is given. It may contain a password.
    :ivar store: a store that the program made; ``None`` if *url* is given.
    :ivar key_file: the absolute path of the key file; ``None`` if nothing is encrypted.
    :ivar timeout_seconds: how many seconds an operation may take; 1 by default.
    :ivar when_unavailable: what to do without the store; ``alone`` by default.
    :ivar detached: whether requests are made by a helper process that outlives this one;
        ``False`` by default.
    """

    url: str = field(default="", repr=False)
    store: TokenStore | None = None
    key_file: Path | None = None
    timeout_seconds: float = 1.0
    when_unavailable: WhenUnavailable = "alone"
    detached: bool = False


def read_options(given: object, directory: Path, note: Note) -> StoreOptions | None:
    """Return the options that *given* describes, or note everything that is wrong with it.

    :param given: a URL, a mapping with the keys :data:`KEYS`, or a ``TokenStore``. In a mapping, a
        text may be given for a number or a boolean, as environment variables contain texts.
    :param directory: where relative paths begin.
    """
    if isinstance(given, str):
        given = {"url": given}
        is_url = True
    elif isinstance(given, Mapping):
        is_url = False
    elif isinstance(given, TokenStore) and not isinstance(given, type):
        given = {"store": given}
        is_url = True
    else:
        note("", f"must be a URL, a mapping or a TokenStore, not {type_of(given)}")
        return None
    reader = _Reader(given, directory, note, is_url)
    options = reader.options()
    return None if reader.failed else options


class _Reader:
    """Reads one mapping. Not thread-safe."""

    def __init__(
        self, given: Mapping[Any, Any], directory: Path, note: Note, is_short: bool
    ) -> None:
        self._given = given
        self._directory = directory
        self._report = note
        self._is_short = is_short  # a URL or a store: there are no keys to name
        self._url = ""
        self.failed = False

    def options(self) -> StoreOptions:
        """Return the options, which are useless if anything was noted."""
        self._check_keys()
        is_private = self._target()
        return StoreOptions(
            url=self._url,
            store=self._given.get("store"),
            key_file=self._key_file(is_private),
            timeout_seconds=self._seconds("timeout_seconds", 1.0),
            when_unavailable=self._when_unavailable(),
            detached=bool(self._boolean("detached")),
        )

    def _check_keys(self) -> None:
        for key in self._given:
            if key not in KEYS:
                name = shortened(str(key))
                self._note(name, f": unknown key {name!r}{did_you_mean(name, KEYS)}")
            elif self._given[key] is None:
                self._note(key, "has no value. Set it, or remove the key")

    def _target(self) -> bool | None:
        """Check the URL or the store; return whether it is private, ``None`` if that is unknown."""
        url, store = self._given.get("url"), self._given.get("store")
        if "url" in self._given and "store" in self._given:
            self._note("store", "can't be combined with url")
            return None
        if "url" not in self._given and "store" not in self._given:
            if not any(nearest_to(str(key), KEYS) in ("url", "store") for key in self._given):
                self._note("url", "is missing. Set it, such as redis://host:6379/0 or auto")
            return None
        if store is not None:
            if isinstance(store, TokenStore) and not isinstance(store, type):
                return getattr(store, "is_private", False) is True
            advice = ". Set url instead" if isinstance(store, str) else ""
            self._note("store", f"must be a TokenStore, not {type_of(store)}{advice}")
            return None
        if url is None:
            return None
        try:
            engine = engine_of(url)
            self._url = _absolute(url, self._directory)
            engine.open(self._url, timeout_seconds=1.0).close()  # it did not connect
            return engine.store_class().is_private
        except InvalidConfigurationError as error:
            self._note("url", str(error))
            return None

    def _key_file(self, is_private: bool | None) -> Path | None:
        encrypt, name = self._boolean("encrypt"), self._given.get("key_file")
        if name is None:
            if encrypt is True:
                self._note("encrypt", "is true, which needs a key. Set key_file")
            elif encrypt is None and is_private is False and "encrypt" not in self._given:
                self._note("", NO_KEY)
            return None
        if encrypt is False:
            self._note("encrypt", "is false, but key_file is set. Remove one of them")
            return None
        if isinstance(name, os.PathLike):
            name = os.fspath(name)
        try:
            path = located(self._directory, checked_text(name, "it")).absolute()
        except InvalidConfigurationError as error:
            self._note("key_file", str(error).removeprefix("it ").removesuffix("."))
            return None
        try:
            read_key_file(path)
        except InvalidConfigurationError as error:
            self._note("key_file", f"is not usable: {error}")
        return path

    def _seconds(self, key: str, default: float) -> float:
        value = self._given.get(key)
        if value is None:
            return default
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                value = None
        try:
            return checked_seconds(value, "it")
        except InvalidConfigurationError as error:
            self._note(key, str(error).removeprefix("it "))
            return default

    def _when_unavailable(self) -> WhenUnavailable:
        value = self._given.get("when_unavailable")
        if value is None or value in ("alone", "wait"):
            return cast("WhenUnavailable", value or "alone")
        self._note("when_unavailable", "must be 'alone' or 'wait'")
        return "alone"

    def _boolean(self, key: str) -> bool | None:
        value = self._given.get(key)
        if isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if value is None or isinstance(value, bool):
            return value
        self._note(key, f"must be true or false, not {type_of(value)}")
        return None

    def _note(self, key: str, what: str) -> None:
        self.failed = True
        self._report("" if self._is_short and key in ("url", "store") else key, what)


def _absolute(url: str, directory: Path) -> str:
    """Return *url*; that of a file in *directory* with an absolute path."""
    name = _RELATIVE_FILE.fullmatch(url)
    if name is None:
        return url
    return f"sqlite:///{quote(str(located(directory, unquote(name[1])).absolute()))}"
