"""Tokenkeeper owns a service's OAuth2 access tokens and hands out valid ones by name.

:class:`TokenKeeper` is the blocking core, :class:`OAuth2TokenManager` the async front of one.
Names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tokenkeeper._version import __version__

if TYPE_CHECKING:
    from tokenkeeper.default import get_default_keeper, set_default_keeper
    from tokenkeeper.default_source import get_default_source
    from tokenkeeper.exceptions import (
        AuthorizationRequiredError,
        ConfigurationWarning,
        InvalidConfigurationError,
        KeeperClosedError,
        OAuth2Error,
        StoreUnavailableError,
        TokenAcquisitionError,
        TokenRefreshError,
        TokenRejectedError,
        TokenWaitTimeoutError,
        UnknownProviderError,
    )
    from tokenkeeper.keeper import TokenKeeper
    from tokenkeeper.manager import OAuth2TokenManager, get_default_manager
    from tokenkeeper.models import (
        Health,
        OAuth2Config,
        OAuth2Token,
        ProviderHealth,
        ReloadResult,
        StoreHealth,
        TokenHealth,
        TokenInfo,
    )
    from tokenkeeper.names import TokenName, TokenParameters
    from tokenkeeper.providers.azure import AzureADProvider
    from tokenkeeper.providers.base import BaseOAuth2Provider
    from tokenkeeper.providers.generic import GenericOAuth2Provider
    from tokenkeeper.providers.grants.refresh_token import RefreshToken
    from tokenkeeper.retry import RetryPolicy
    from tokenkeeper.source import AsyncTokenSource, TokenSource

__all__ = [
    "AsyncTokenSource",
    "AuthorizationRequiredError",
    "AzureADProvider",
    "BaseOAuth2Provider",
    "ConfigurationWarning",
    "GenericOAuth2Provider",
    "Health",
    "InvalidConfigurationError",
    "KeeperClosedError",
    "OAuth2Config",
    "OAuth2Error",
    "OAuth2Token",
    "OAuth2TokenManager",
    "ProviderHealth",
    "RefreshToken",
    "ReloadResult",
    "RetryPolicy",
    "StoreHealth",
    "StoreUnavailableError",
    "TokenAcquisitionError",
    "TokenHealth",
    "TokenInfo",
    "TokenKeeper",
    "TokenName",
    "TokenParameters",
    "TokenRefreshError",
    "TokenRejectedError",
    "TokenSource",
    "TokenWaitTimeoutError",
    "UnknownProviderError",
    "__version__",
    "get_default_keeper",
    "get_default_manager",
    "get_default_source",
    "set_default_keeper",
]

_HOMES = {
    "default": ("get_default_keeper", "set_default_keeper"),
    "default_source": ("get_default_source",),
    "exceptions": (
        "AuthorizationRequiredError",
        "ConfigurationWarning",
        "InvalidConfigurationError",
        "KeeperClosedError",
        "OAuth2Error",
        "StoreUnavailableError",
        "TokenAcquisitionError",
        "TokenRefreshError",
        "TokenRejectedError",
        "TokenWaitTimeoutError",
        "UnknownProviderError",
    ),
    "keeper": ("TokenKeeper",),
    "manager": ("OAuth2TokenManager", "get_default_manager"),
    "models": (
        "Health",
        "OAuth2Config",
        "OAuth2Token",
        "ProviderHealth",
        "ReloadResult",
        "StoreHealth",
        "TokenHealth",
        "TokenInfo",
    ),
    "names": ("TokenName", "TokenParameters"),
    "providers.azure": ("AzureADProvider",),
    "providers.base": ("BaseOAuth2Provider",),
    "providers.generic": ("GenericOAuth2Provider",),
    "providers.grants.refresh_token": ("RefreshToken",),
    "retry": ("RetryPolicy",),
    "source": ("AsyncTokenSource", "TokenSource"),
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # or type checkers would take every misspelt name for one that is there

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value  # the next look-up does not come here
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
