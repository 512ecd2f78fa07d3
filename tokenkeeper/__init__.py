"""Tokenkeeper owns a service's OAuth2 access tokens and hands out valid ones by name.

:class:`TokenKeeper` is the blocking core, :class:`OAuth2TokenManager` the async front of one.
Names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tokenkeeper._version import __version__

if TYPE_CHECKING:
    from tokenkeeper.async_authorization import AsyncAuthorization
    from tokenkeeper.authorization import Authorization
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
    from tokenkeeper.oauth.azure_pipelines import AzurePipelinesToken
    from tokenkeeper.oauth.client_assertions import ClientAssertion, ClientSecretJwt, PrivateKeyJwt
    from tokenkeeper.oauth.client_certificate import TlsClientAuth
    from tokenkeeper.oauth.dpop import DPoPKey
    from tokenkeeper.oauth.github_actions import GitHubActionsToken
    from tokenkeeper.oauth.revocation import Revocation
    from tokenkeeper.oauth.signed_jwt import SignedJwt
    from tokenkeeper.oauth.signing import SigningKey
    from tokenkeeper.providers.azure import AzureADProvider
    from tokenkeeper.providers.azure_default import AzureDefaultProvider
    from tokenkeeper.providers.base import BaseOAuth2Provider
    from tokenkeeper.providers.generic import GenericOAuth2Provider
    from tokenkeeper.providers.google import GoogleProvider
    from tokenkeeper.providers.google_impersonation import GoogleImpersonation
    from tokenkeeper.providers.grants.authorization_code import AuthorizationCode
    from tokenkeeper.providers.grants.base import ClientCredentials, Grant
    from tokenkeeper.providers.grants.ciba import Ciba
    from tokenkeeper.providers.grants.device_code import DeviceCode
    from tokenkeeper.providers.grants.jwt_bearer import JwtBearer
    from tokenkeeper.providers.grants.password import Password
    from tokenkeeper.providers.grants.refresh_token import RefreshToken
    from tokenkeeper.providers.grants.token_exchange import TokenExchange
    from tokenkeeper.providers.managed_identity import ManagedIdentityProvider
    from tokenkeeper.retry import RetryPolicy
    from tokenkeeper.source import AsyncTokenSource, TokenSource

__all__ = [
    "AsyncAuthorization",
    "AsyncTokenSource",
    "Authorization",
    "AuthorizationCode",
    "AuthorizationRequiredError",
    "AzureADProvider",
    "AzureDefaultProvider",
    "AzurePipelinesToken",
    "BaseOAuth2Provider",
    "Ciba",
    "ClientAssertion",
    "ClientCredentials",
    "ClientSecretJwt",
    "ConfigurationWarning",
    "DPoPKey",
    "DeviceCode",
    "GenericOAuth2Provider",
    "GitHubActionsToken",
    "GoogleImpersonation",
    "GoogleProvider",
    "Grant",
    "Health",
    "InvalidConfigurationError",
    "JwtBearer",
    "KeeperClosedError",
    "ManagedIdentityProvider",
    "OAuth2Config",
    "OAuth2Error",
    "OAuth2Token",
    "OAuth2TokenManager",
    "Password",
    "PrivateKeyJwt",
    "ProviderHealth",
    "RefreshToken",
    "ReloadResult",
    "RetryPolicy",
    "Revocation",
    "SignedJwt",
    "SigningKey",
    "StoreHealth",
    "StoreUnavailableError",
    "TlsClientAuth",
    "TokenAcquisitionError",
    "TokenExchange",
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
    "async_authorization": ("AsyncAuthorization",),
    "authorization": ("Authorization",),
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
    "oauth.azure_pipelines": ("AzurePipelinesToken",),
    "oauth.client_assertions": ("ClientAssertion", "ClientSecretJwt", "PrivateKeyJwt"),
    "oauth.client_certificate": ("TlsClientAuth",),
    "oauth.dpop": ("DPoPKey",),
    "oauth.github_actions": ("GitHubActionsToken",),
    "oauth.revocation": ("Revocation",),
    "oauth.signed_jwt": ("SignedJwt",),
    "oauth.signing": ("SigningKey",),
    "providers.azure": ("AzureADProvider",),
    "providers.azure_default": ("AzureDefaultProvider",),
    "providers.base": ("BaseOAuth2Provider",),
    "providers.generic": ("GenericOAuth2Provider",),
    "providers.google": ("GoogleProvider",),
    "providers.google_impersonation": ("GoogleImpersonation",),
    "providers.grants.authorization_code": ("AuthorizationCode",),
    "providers.grants.base": ("ClientCredentials", "Grant"),
    "providers.grants.ciba": ("Ciba",),
    "providers.grants.device_code": ("DeviceCode",),
    "providers.grants.jwt_bearer": ("JwtBearer",),
    "providers.grants.password": ("Password",),
    "providers.grants.refresh_token": ("RefreshToken",),
    "providers.grants.token_exchange": ("TokenExchange",),
    "providers.managed_identity": ("ManagedIdentityProvider",),
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
