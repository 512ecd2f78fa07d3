"""The public types as type checkers see them. Checked by `tox -e types`, never run.

An ignored error that does not occur is an error itself, in mypy and in pyright.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportPrivateUsage=false

from typing import Literal, assert_type

import tokenkeeper
from tokenkeeper import (
    Health,
    OAuth2Config,
    OAuth2TokenManager,
    ProviderHealth,
    ReloadResult,
    StoreHealth,
    TokenAcquisitionError,
    TokenInfo,
    TokenKeeper,
)
from tokenkeeper.stores import TokenStore
from tokenkeeper.testing import MemoryTokenStore

# A misspelt name is an error.
from tokenkeeper import TokenKeper  # type: ignore[attr-defined] # noqa: F401 # isort: skip
from tokenkeeper.providers import GenericProvider  # type: ignore[attr-defined] # noqa: F401 # isort: skip
from tokenkeeper.testing import MokProvider  # type: ignore[attr-defined] # noqa: F401 # isort: skip

tokenkeeper.get_default_keper()  # type: ignore[attr-defined]


def reports(keeper: TokenKeeper) -> None:
    """Diagnostics are typed dictionaries, key by key."""
    assert_type(keeper.get_token("api"), str)
    assert_type(keeper.health(), Health)
    assert_type(keeper.health()["status"], Literal["ok", "degraded", "down", "closed"])
    assert_type(keeper.health()["providers"]["api"], ProviderHealth)
    assert_type(keeper.health().get("store"), StoreHealth | None)
    assert_type(keeper.get_cached_token_info("api"), TokenInfo | None)
    assert_type(keeper.reload(), ReloadResult)
    keeper.health()["state"]  # type: ignore[typeddict-item]


async def the_async_front(manager: OAuth2TokenManager) -> None:
    """The async front has the same types."""
    assert_type(await manager.get_token("api"), str)
    assert_type(manager.health(), Health)
    assert_type(await manager.reload(), ReloadResult)


def options() -> None:
    """The options of from_config and from_env are checked like those of the keeper."""
    assert_type(TokenKeeper.from_env(max_workers=4), TokenKeeper)
    TokenKeeper(store="auto")
    TokenKeeper(store={"url": "redis://cache", "key_file": "store.keys"})
    TokenKeeper(store=MemoryTokenStore())
    TokenKeeper(store=4)  # type: ignore[arg-type]
    TokenKeeper.from_env(max_worker=4)  # type: ignore[call-arg]
    TokenKeeper.from_config("tokens.yaml", background="no")  # type: ignore[arg-type]
    OAuth2TokenManager.from_env(cooldown="30")  # type: ignore[call-arg]


def errors(error: TokenAcquisitionError) -> None:
    """An error always says whether it is transient."""
    assert_type(error.transient, bool)


def stores(store: MemoryTokenStore) -> TokenStore:
    """A store needs no base class, only the methods."""
    return store


def registrations() -> None:
    """A registration states a token endpoint or an issuer, and the checkers know that."""
    OAuth2Config("api", "id", "secret", "https://id.example.com/token", "read")
    OAuth2Config("api", "id", token_url="https://id.example.com/token", endpoints={})
    OAuth2Config("api", "id", "secret", issuer="https://id.example.com", scope=["read"])
    OAuth2Config("api", "id", issuer="https://id.example.com", endpoints={"token_endpoint": "x"})
    OAuth2Config("api", "id", "secret")  # type: ignore[call-overload]
    OAuth2Config("api", "id", "secret", "https://a", issuer="https://b")  # type: ignore[call-overload]
