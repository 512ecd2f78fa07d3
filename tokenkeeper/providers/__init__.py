"""The providers. The libraries of a provider are imported with the provider."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenkeeper.providers.azure import AzureADProvider
    from tokenkeeper.providers.azure_default import AzureDefaultProvider
    from tokenkeeper.providers.base import BaseOAuth2Provider
    from tokenkeeper.providers.generic import GenericOAuth2Provider
    from tokenkeeper.providers.google import GoogleProvider
    from tokenkeeper.providers.google_impersonation import GoogleImpersonation
    from tokenkeeper.providers.managed_identity import ManagedIdentityProvider

__all__ = [
    "AzureADProvider",
    "AzureDefaultProvider",
    "BaseOAuth2Provider",
    "GenericOAuth2Provider",
    "GoogleImpersonation",
    "GoogleProvider",
    "ManagedIdentityProvider",
]

_HOMES = {
    "AzureADProvider": "tokenkeeper.providers.azure",
    "AzureDefaultProvider": "tokenkeeper.providers.azure_default",
    "BaseOAuth2Provider": "tokenkeeper.providers.base",
    "GenericOAuth2Provider": "tokenkeeper.providers.generic",
    "GoogleImpersonation": "tokenkeeper.providers.google_impersonation",
    "GoogleProvider": "tokenkeeper.providers.google",
    "ManagedIdentityProvider": "tokenkeeper.providers.managed_identity",
}


if not TYPE_CHECKING:  # see tokenkeeper/__init__.py

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
