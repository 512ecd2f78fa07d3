"""The HTTP clients of SDKs such as ``openai`` and ``anthropic``, with our authentication."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

__all__ = ["auth_for"]


def auth_for(
    client_class: type,
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None,
    allowed_hosts: Iterable[str] | None,
) -> Any:
    """Return the ``auth=`` for a client class of an SDK.

    The class derives from that of httpx or httpx2, depending on the SDK's version.
    """
    packages = {each.__module__.partition(".")[0] for each in client_class.__mro__}
    package = "httpx2" if "httpx2" in packages else "httpx"
    module = import_module(f"tokenkeeper.integrations.{package}")
    return module.KeeperAuth(keeper, provider_name, allowed_hosts=allowed_hosts)
