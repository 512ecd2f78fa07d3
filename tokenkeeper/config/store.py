"""The store that a configuration describes, under ``store`` or as ``TOKENKEEPER_STORE``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tokenkeeper._support.checks import secrets_in_query
from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.files import readable_by_all
from tokenkeeper.config.problems import KeyPath, Problem, Problems, in_order
from tokenkeeper.config.variables import fill_in, is_in_clear, variables_in
from tokenkeeper.stores.options import NO_KEY, Note, StoreOptions, read_options

if TYPE_CHECKING:
    from tokenkeeper.config.document import Document

__all__ = [
    "KEY_FILE_VARIABLE",
    "OTHERS_READ_IT",
    "STORE_SECTION",
    "STORE_VARIABLE",
    "DiscoveredStore",
    "secrets_in_url",
    "store_from_environment",
    "store_in",
]

STORE_SECTION = "store"
"""The key of a file, beside ``oauth2``."""

OTHERS_READ_IT = "needs a key, because others may read the store"

STORE_VARIABLE = "TOKENKEEPER_STORE"
KEY_FILE_VARIABLE = "TOKENKEEPER_STORE_KEY_FILE"


@dataclass(frozen=True)
class DiscoveredStore:
    """A store that a file, a mapping or the environment describes, valid or not.

    :ivar options: ``None`` if there are problems.
    :ivar problems: everything that is wrong with it.
    :ivar warnings: a sentence for each secret that other users may see.
    :ivar variables: the environment variables that it reads, set or not.
    """

    options: StoreOptions | None = field(repr=False)
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()


def store_in(document: Document, environment: Mapping[str, str]) -> DiscoveredStore | None:
    """Return the store that *document* describes; ``None`` if it has no key ``store``."""
    if not isinstance(document.content, Mapping) or STORE_SECTION not in document.content:
        return None
    content = document.content[STORE_SECTION]
    duplicates = [each for each in document.duplicates if each[0][0] == STORE_SECTION]
    problems = Problems(document.name, document.lines, duplicates)
    top = (STORE_SECTION,)
    options = None
    if not _is_small(content, document, problems):
        return DiscoveredStore(None, tuple(problems))
    if content is None:
        problems.add(top, "has no value. Set it to a URL or a mapping, or remove it")
    else:
        filled = fill_in(content, environment, problems, top)
        options = read_options(filled, document.directory, _noted_in(problems))
    found = tuple(in_order(problems))
    options = None if found else options
    return DiscoveredStore(
        options,
        found,
        tuple(_exposures(content, options, document)),
        tuple(variables_in(content)),
    )


def store_from_environment(
    environment: Mapping[str, str], directory: Path
) -> DiscoveredStore | None:
    """Return the store that *environment* describes; ``None`` if its variable is not set or empty.

    :param directory: where the relative path of a key file begins.
    """
    url = environment.get(STORE_VARIABLE, "")
    key_file = environment.get(KEY_FILE_VARIABLE, "")
    if not url.strip():
        return None
    problems: list[Problem] = []

    def note(key: str, what: str) -> None:
        variable = KEY_FILE_VARIABLE if key == "key_file" else STORE_VARIABLE
        if what == NO_KEY:
            what = (
                f"{OTHERS_READ_IT}. Set {KEY_FILE_VARIABLE} to a key file (create one with: "
                "tokenkeeper store new-key)"
            )
        problems.append(Problem(escaped(f"{variable} {what}"), variable))

    given = {"url": url} | ({"key_file": key_file} if key_file.strip() else {})
    options = read_options(given, directory, note)
    return DiscoveredStore(
        options,
        tuple(problems),
        tuple(_readable_key(options)),
        (STORE_VARIABLE, KEY_FILE_VARIABLE),
    )


def _is_small(content: object, document: Document, problems: Problems) -> bool:
    """Return whether *content* can be read, or note why not; a file was checked when parsed."""
    if document.name:
        return True
    from tokenkeeper.config.bounds import TooMuchError, check_values

    try:
        check_values(content)
    except TooMuchError as error:
        problems.add((STORE_SECTION,), f"can't be read: {error.why}")
        return False
    return True


def _noted_in(problems: Problems) -> Note:
    def note(key: str, what: str) -> None:
        path: KeyPath = (STORE_SECTION, key) if key else (STORE_SECTION,)
        if what.startswith(": "):
            problems.add_key(path, what.removeprefix(": "))
        else:
            problems.add(path, what)

    return note


def _exposures(content: object, options: StoreOptions | None, document: Document) -> Iterator[str]:
    """Yield a warning for each secret that is written in clear or can be read."""
    path: KeyPath = (STORE_SECTION,)
    url = content
    if isinstance(content, Mapping):
        path, url = (*path, "url"), content.get("url")
    if document.name and isinstance(url, str) and any(map(is_in_clear, secrets_in_url(url))):
        place = Problems(document.name, document.lines).where(path)
        yield f"{place} contains a password in clear: take it from a variable, ${{NAME}}"
        yield from readable_by_all(Path(document.name))
    yield from _readable_key(options)


def _readable_key(options: StoreOptions | None) -> Iterator[str]:
    if options is not None and options.key_file is not None:
        yield from readable_by_all(options.key_file)


def secrets_in_url(url: str) -> list[str]:
    """Return the passwords in *url*, before its variables are filled in."""
    place = url.partition("://")[2].partition("/")[0].partition("?")[0]
    password = place.rpartition("@")[0].partition(":")[2]
    return [password, *secrets_in_query(url)]
