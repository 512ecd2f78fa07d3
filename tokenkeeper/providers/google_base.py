"""What the providers for Google's tokens have in common: their options."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypedDict

from tokenkeeper._support.checks import checked_scope
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import naming
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.google_client import CLOUD_PLATFORM, GoogleClient
from tokenkeeper.providers.shared_settings import shared_transport

if TYPE_CHECKING:
    import requests

    from tokenkeeper.retry import RetryPolicy

__all__ = ["GoogleOptions", "GoogleTokens"]


class GoogleOptions(TypedDict, total=False):
    """The options that :class:`GoogleTokens` describes."""

    scope: str | Iterable[str] | None
    connect_timeout: float
    read_timeout: float
    total_timeout: float
    verify: bool | str | os.PathLike[str] | None
    session: requests.Session | None
    clock: Clock
    buffer_seconds: float
    retry: RetryPolicy | None


class GoogleTokens(BaseOAuth2Provider):
    """Base class of providers for Google's tokens.

    :param scope: the scopes; ``https://www.googleapis.com/auth/cloud-platform`` by default.
    :param connect_timeout: how many seconds to wait for a connection; 5 by default.
    :param read_timeout: how many seconds to wait for each piece of a response; 10 by default.
    :param total_timeout: how many seconds one request may take; 30 by default.
    :param verify: a file or directory of CA certificates; by default the usual ones.
    :param session: a ``requests.Session`` whose settings to use; by default the library's own.
    :param clock: the source of time; by default the system's.
    :param buffer_seconds: how many seconds before its expiry a token is renewed; 300 by default.
    :param retry: how to retry transient failures; ``None``, the default, uses the keeper's policy.
    :raises InvalidConfigurationError: for an option that can't be used.
    """

    def __init__(
        self,
        provider_name: str,
        *,
        scope: str | Iterable[str] | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        verify: bool | str | os.PathLike[str] | None = None,
        session: requests.Session | None = None,
        clock: Clock = SYSTEM_CLOCK,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        super().__init__(provider_name, buffer_seconds=buffer_seconds, retry=retry)
        with naming(provider_name):
            self._scope = checked_scope(scope, "scope")
            transport = shared_transport(
                connect_timeout, read_timeout, total_timeout, verify, session, clock
            )
        self._google = GoogleClient(provider_name, transport, clock)
        self.longest_request_seconds: float = transport.total_timeout

    def _wanted_scope(self) -> str | None:
        """Return the scope that a source chose, or the provider's own, or ``None``."""
        return self.parameters.scope or self._scope

    def describe(self) -> Mapping[str, object]:
        """Return the settings of this provider without secrets."""
        return {
            **super().describe(),
            "scope": self._scope or CLOUD_PLATFORM,
            "verify": self._google.transport.verify,
        }

    def identity(self) -> Mapping[str, object]:
        """Return the settings that identify the account; how servers are verified is not one."""
        return {name: value for name, value in self.describe().items() if name != "verify"}
