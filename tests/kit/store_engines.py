"""Stand-ins for the engines of stores, so that URLs can be opened without their libraries."""

from pathlib import Path

import pytest

from tokenkeeper import InvalidConfigurationError
from tokenkeeper._support.checks import shown_url
from tokenkeeper.stores import engines
from tokenkeeper.testing.stores import MemoryTokenStore


class SharedStandIn(MemoryTokenStore):
    """A store that others may read. Rejects URLs that contain ``invalid``."""

    is_private = False

    @classmethod
    def from_url(cls, url, *, timeout_seconds=1.0):
        """Return a store that remembers its arguments."""
        if "quoted-invalid" in url:
            raise ValueError(f"{url} has no port")
        if "invalid" in url:
            raise InvalidConfigurationError("the store's URL is not like redis://host:6379/0")
        store = cls()
        store.url, store.timeout_seconds, store.label = url, timeout_seconds, shown_url(url)
        return store


class PrivateStandIn(SharedStandIn):
    """A store that only this user can read."""

    is_private = True

    def __init__(self, path="", *, timeout_seconds=1.0):
        super().__init__()
        self.path, self.label, self.timeout_seconds = path, f"sqlite:///{path}", timeout_seconds


def auto_path():
    """Return where ``auto`` stores its file."""
    return Path("/run/user/1/tokenkeeper/store.db")


def use_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace every engine by a stand-in."""
    for scheme, engine in engines.ENGINES.items():
        name = "SharedStandIn" if engine.library else "PrivateStandIn"
        monkeypatch.setitem(engines.ENGINES, scheme, engines.Engine(__name__, name))
