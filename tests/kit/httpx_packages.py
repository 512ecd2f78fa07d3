"""httpx and its fork httpx2, as far as they are installed: tests run with each."""

from importlib import import_module
from importlib.util import find_spec

PACKAGES = {name: import_module(name) for name in ("httpx", "httpx2") if find_spec(name)}
"""The packages by their names."""


def auth_for(package):
    """Return the class ``KeeperAuth`` for a package."""
    return import_module(f"tokenkeeper.integrations.{package.__name__}").KeeperAuth
