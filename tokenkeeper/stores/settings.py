"""Opens the store that a keeper was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.files import readable_by_all, warn
from tokenkeeper.config.problems import Problem, as_error
from tokenkeeper.stores.base import TokenStore
from tokenkeeper.stores.engines import engine_of
from tokenkeeper.stores.key_file import FileKeyRing
from tokenkeeper.stores.options import StoreOptions, WhenUnavailable, read_options
from tokenkeeper.stores.sealed import Plain, Sealer

__all__ = ["StoreSettings", "opened", "opened_by"]


@dataclass(frozen=True)
class StoreSettings:
    """A store, and how a keeper uses it. Immutable.

    :ivar store: the store.
    :ivar sealer: encrypts what is stored.
    :ivar timeout_seconds: how many seconds an operation of the store may take; 1 by default.
    :ivar when_unavailable: what to do while the store is unavailable: ``alone``, the default,
        requests tokens as without a store; ``wait`` waits for it.
    :ivar detached: whether a helper process that outlives this one makes the requests; ``False`` by
        default.
    :ivar label: the store in words: its URL without a secret. In one line, and valid UTF-8.
    :ivar options: what it was opened by, so that another process can open it too; ``None`` if a
        program made these settings.
    """

    store: TokenStore
    sealer: Sealer = field(repr=False)
    timeout_seconds: float = 1.0
    when_unavailable: WhenUnavailable = "alone"
    detached: bool = False
    label: str = ""
    options: StoreOptions | None = field(default=None, repr=False)


def opened(given: object) -> StoreSettings:
    """Return the store that *given* describes. Does not connect to it.

    Emits a ``ConfigurationWarning`` if every user of the machine can read the key file.

    :param given: a URL; a mapping with ``url`` or ``store``, and optionally ``key_file``,
        ``timeout_seconds``, ``when_unavailable``, ``encrypt`` and ``detached``; a store that no
        other user can read; or settings, which are returned unchanged.
    :raises InvalidConfigurationError: naming everything that is wrong with it, without a secret.
    """
    if isinstance(given, StoreSettings):
        return given
    problems: list[Problem] = []

    def note(key: str, what: str) -> None:
        field_name = f"store.{key}" if key else "store"
        text = f"store{what}" if what.startswith(":") else f"{field_name} {what}"
        problems.append(Problem(escaped(text), field_name))

    options = read_options(given, Path(), note)
    if options is None:
        raise as_error(problems)
    if options.key_file is not None:
        for text in readable_by_all(options.key_file):
            warn(text)
    return opened_by(options)


def opened_by(options: StoreOptions) -> StoreSettings:
    """Return the store of *options*. Does not connect to it.

    :raises InvalidConfigurationError: if the options are no longer valid.
    """
    store = options.store
    if store is None:
        store = engine_of(options.url).open(options.url, options.timeout_seconds)
    sealer = FileKeyRing(options.key_file) if options.key_file else Plain()
    return StoreSettings(
        store=store,
        sealer=sealer,
        timeout_seconds=options.timeout_seconds,
        when_unavailable=options.when_unavailable,
        detached=options.detached,
        label=escaped(getattr(store, "label", type(store).__name__)),
        options=options,
    )
