"""Which engine the scheme of a store's URL means, and whether its library is installed."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Self

from tokenkeeper._runtime.fork import late_import
from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.kinds import nearest_to
from tokenkeeper.stores.base import TokenStore

__all__ = ["ENGINES", "Engine", "EngineStore", "engine_of"]


class EngineStore(TokenStore, Protocol):
    """What our own stores have beyond the contract.

    :ivar is_private: whether only this user of the operating system can read it, so that it needs
        no key.
    """

    is_private: bool

    @classmethod
    def from_url(cls, url: str, *, timeout_seconds: float = 1.0) -> Self:
        """Return the store that *url* describes, without connecting to it.

        :raises InvalidConfigurationError: if the URL is not valid.
        """
        ...

    @property
    def label(self) -> str:
        """The URL without a secret."""
        ...


@dataclass(frozen=True)
class Engine:
    """Where the class of a store is.

    :ivar module: the module that is imported when the engine is used.
    :ivar library: the top-level module that it needs; "" for the standard library.
    :ivar extra: our extra that installs the library.
    """

    module: str
    class_name: str
    library: str = ""
    extra: str = ""

    def store_class(self) -> type[EngineStore]:
        """Import and return the class of the store.

        :raises InvalidConfigurationError: if the library is not installed, or can't be imported.
        """
        if self.library and not _is_installed(self.library):
            raise InvalidConfigurationError(self._advice("is not installed"))
        with self._import_errors_explained():
            found: type[EngineStore] = getattr(late_import(self.module), self.class_name)
            return found

    def open(self, url: str, timeout_seconds: float) -> EngineStore:
        """Return the store that *url* describes, without connecting to it.

        :raises InvalidConfigurationError: as :meth:`store_class` does, and if the URL is not valid.
            The message continues a sentence about the URL, and does not quote it.
        """
        store_class = self.store_class()
        with self._import_errors_explained():
            return self._opened(store_class, url, timeout_seconds)

    def _opened(
        self, store_class: type[EngineStore], url: str, timeout_seconds: float
    ) -> EngineStore:
        try:
            if url == AUTO:
                path = late_import(self.module).auto_path()
                return store_class(path, timeout_seconds=timeout_seconds)  # type: ignore[call-arg]
            return store_class.from_url(url, timeout_seconds=timeout_seconds)
        except InvalidConfigurationError as error:
            text = str(error)
            subject = next(filter(text.startswith, _SUBJECTS), None)
            what = text.removeprefix(subject) if subject else f"is not usable: {text}"
            raise _invalid(what) from None
        except ValueError:  # from the library; its text may quote the URL with its password
            raise _invalid("is not valid. Check its host, port and parameters") from None

    @contextmanager
    def _import_errors_explained(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            if not self.library or str(error.name).startswith("tokenkeeper"):
                raise
            why = str(error).partition("\n")[0].rstrip(".")
            raise InvalidConfigurationError(self._advice(f"can't be imported ({why})")) from None

    def _advice(self, what: str) -> str:
        return (
            f"needs the library {self.library}, which {what}. "
            f'Run: pip install "tokenkeeper-oauth2[{self.extra}]"'
        )


_SUBJECTS = ("the store's URL ", "the URL of an SQLite store ")
"""How an engine's sentence about a URL begins, which our messages replace by the setting's name."""

_SQLITE = Engine("tokenkeeper.stores.sqlite", "SQLiteTokenStore")
_REDIS = Engine("tokenkeeper.stores.redis", "RedisTokenStore", "redis", "redis")
_POSTGRESQL = Engine("tokenkeeper.stores.postgresql", "PostgreSQLTokenStore", "psycopg", "psycopg")

AUTO = "auto"
ENGINES: dict[str, Engine] = {
    AUTO: _SQLITE,
    "sqlite": _SQLITE,
    "redis": _REDIS,
    "rediss": _REDIS,
    "redis+sentinel": _REDIS,
    "rediss+sentinel": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "postgresql": _POSTGRESQL,
    "postgres": _POSTGRESQL,
}
"""The engine of each scheme. ``auto`` is a whole URL."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}")  # RFC 3986 §3.1, but not as long as a secret
_EXAMPLES = "such as sqlite:///tokens.db, redis://host:6379/0 or postgresql://host/database"


def engine_of(url: object) -> Engine:
    """Return the engine for *url*.

    :raises InvalidConfigurationError: if it is not a URL of a store. The message continues a
        sentence about it, and quotes its scheme at most.
    """
    text = _checked(url)
    if text == AUTO:
        return ENGINES[AUTO]
    scheme, separator, place = text.partition("://")
    if not separator:
        raise _invalid(_without_scheme(text))
    if not _SCHEME.fullmatch(scheme):
        raise _invalid(f"must be a URL, {_EXAMPLES}, or {AUTO!r}")
    known = [each for each in ENGINES if each != AUTO]
    if scheme not in known:
        near = nearest_to(scheme.lower(), known)
        advice = f"Did you mean '{near}://'?" if near else f"Use one of {', '.join(known)}"
        raise _invalid(f"has the unknown scheme {scheme!r}. {advice}")
    if scheme != "sqlite":
        _check_place(place)
    return ENGINES[scheme]


def _check_place(place: str) -> None:
    """Check what follows ``://``. A password that is not encoded would end up in the host's name.

    :raises InvalidConfigurationError: if it can't be taken apart.
    """
    if any(map(str.isspace, place)):
        raise _invalid("must not contain white space. Check where it comes from")
    authority = re.split(r"[/?#]", place, maxsplit=1)[0]
    before, _, _ = place.removeprefix(authority).partition("@")
    is_cut = "@" not in authority and "@" in place and "=" not in before
    if authority.count("@") > 1 or is_cut:
        raise _invalid(
            "has a user or password with a character that must be percent-encoded: write %40 for "
            "@, %2F for /, %3F for ? and %23 for #"
        )


def _checked(url: object) -> str:
    try:
        return checked_text(url, "it")
    except InvalidConfigurationError as error:
        raise _invalid(str(error).removeprefix("it ").removesuffix(".")) from None


def _without_scheme(text: str) -> str:
    if nearest_to(text.lower(), [AUTO]):
        return f"must be a URL, {_EXAMPLES}. Did you mean {AUTO!r}?"
    if "/" in text or text.endswith((".db", ".sqlite", ".sqlite3")):
        return f"must be a URL, {_EXAMPLES}. For a file, put sqlite:/// before its path"
    return f"must be a URL, {_EXAMPLES}, or {AUTO!r}"


def _invalid(what: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(what, field="store.url")


def _is_installed(library: str) -> bool:
    return sys.modules.get(library) is not None or importlib.util.find_spec(library) is not None
