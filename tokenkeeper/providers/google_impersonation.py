"""Tokens of a Google service account for an identity that may act as it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Unpack

from tokenkeeper._support.checks import (
    checked_endpoint,
    checked_seconds,
    checked_words,
)
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.exceptions import naming
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.attribution import attributed_to
from tokenkeeper.oauth.late_text import LateText, checked_late_text, read_late
from tokenkeeper.providers.google_base import GoogleOptions, GoogleTokens
from tokenkeeper.providers.google_client import CLOUD_PLATFORM, checked_account
from tokenkeeper.providers.grants.presented import identity_of

__all__ = ["GoogleImpersonation"]


class GoogleImpersonation(GoogleTokens):
    """Gets tokens of a service account for another identity that may act as it. Thread-safe.

    The identity needs the role Service Account Token Creator. This is Google's own API, not a token
    endpoint (``projects.serviceAccounts.generateAccessToken``).

    :param source: where the token of the identity comes from, which is asked for each request: a
        :class:`~tokenkeeper.TokenSource` such as ``keeper.source("google")``, another function, or
        a ``Path``.
    :param service_account: the address of the service account to act as.
    :param token_lifetime_seconds: how long the token lives; an hour by default, which is the most
        that Google grants unless a policy allows more.
    :param delegates: the addresses of the service accounts in between, each of which may act as the
        next; none by default.
    :param endpoint: the API; ``https://iamcredentials.googleapis.com`` by default.
    :param options: ``scope`` and the other options of ``GoogleTokens``.
    :raises InvalidConfigurationError: for an option that can't be used.
    """

    takes: frozenset[str] = frozenset({"scope"})

    def __init__(
        self,
        provider_name: str,
        source: LateText,
        service_account: str,
        *,
        token_lifetime_seconds: float = 3600.0,
        delegates: str | Iterable[str] = (),
        endpoint: str = "https://iamcredentials.googleapis.com",
        **options: Unpack[GoogleOptions],
    ) -> None:
        super().__init__(provider_name, **options)
        with naming(provider_name):
            self._source = checked_late_text(source, "source")
            account = checked_account(service_account)
            host = checked_endpoint(endpoint, "endpoint").rstrip("/")
            self._lifetime = checked_seconds(token_lifetime_seconds, "token_lifetime_seconds")
            names = checked_words(delegates, "delegates")
        self._delegates = [f"projects/-/serviceAccounts/{name}" for name in names]
        self._url = f"{host}/v1/projects/-/serviceAccounts/{account}:generateAccessToken"

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Request a token with the identity's own, which is read first."""
        with attributed_to(self.provider_name):
            token = read_late(self._source, "the identity's token")
        scope = self._wanted_scope() or CLOUD_PLATFORM
        return self._google.impersonate(self._url, token, scope, self._lifetime, self._delegates)

    def describe(self) -> Mapping[str, object]:
        """Return the settings of this provider without secrets."""
        return {**super().describe(), "token_url": self._url}

    def identity(self) -> Mapping[str, object]:
        """Return the settings that identify the account, and whose token it is granted for."""
        return {
            **super().identity(),
            "source": identity_of(self._source),
            "delegates": self._delegates,
        }
