"""Test doubles for users: a stepped clock, scripted providers and an authorization server."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenkeeper.testing.clock import SteppedClock
    from tokenkeeper.testing.defaults import default_keeper
    from tokenkeeper.testing.events import EventRecorder
    from tokenkeeper.testing.faults import Answer
    from tokenkeeper.testing.jwts import JWTAccessTokens
    from tokenkeeper.testing.providers import AsyncMockProvider, MockProvider, StaticProvider
    from tokenkeeper.testing.server import LoopbackAuthorizationServer
    from tokenkeeper.testing.stats import ServerStats
    from tokenkeeper.testing.store_contract import TokenStoreContract
    from tokenkeeper.testing.stores import MemoryTokenStore

__all__ = [
    "Answer",
    "AsyncMockProvider",
    "EventRecorder",
    "JWTAccessTokens",
    "LoopbackAuthorizationServer",
    "MemoryTokenStore",
    "MockProvider",
    "ServerStats",
    "StaticProvider",
    "SteppedClock",
    "TokenStoreContract",
    "default_keeper",
]

_HOMES = {
    "Answer": "faults",
    "AsyncMockProvider": "providers",
    "EventRecorder": "events",
    "JWTAccessTokens": "jwts",
    "LoopbackAuthorizationServer": "server",
    "MemoryTokenStore": "stores",
    "MockProvider": "providers",
    "ServerStats": "stats",
    "StaticProvider": "providers",
    "SteppedClock": "clock",
    "TokenStoreContract": "store_contract",
    "default_keeper": "defaults",
}


if not TYPE_CHECKING:  # as in the package's own __init__.py

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
