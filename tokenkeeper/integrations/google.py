"""``google-auth``: any of its credentials as a provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import google.auth.exceptions
import google.auth.transport.requests
from google.auth.exceptions import TransportError

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.words import tame
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    import google.auth.credentials

__all__ = ["GoogleCredentialsProvider"]

DEFAULT_LIFETIME = timedelta(hours=1)
"""What a token of Google's lives, where the credentials do not say."""


class GoogleCredentialsProvider(BaseOAuth2Provider):
    """Gets tokens from credentials of ``google-auth``; each renewal really asks for one.

    :param credentials: from ``google.auth.default()`` or any of its classes. They are the
        provider's from here on: nobody else should refresh them.
    :param options: what ``BaseOAuth2Provider`` takes.
    """

    def __init__(
        self,
        provider_name: str,
        credentials: google.auth.credentials.Credentials,
        **options: Any,
    ) -> None:
        super().__init__(provider_name, **options)
        self._credentials = credentials
        self._request = google.auth.transport.requests.Request()

    def acquire_token(self) -> OAuth2Token:
        """Have the credentials refresh themselves."""
        credentials = self._credentials
        try:
            credentials.refresh(self._request)  # type: ignore[no-untyped-call]
        except google.auth.exceptions.GoogleAuthError as error:
            raise TokenAcquisitionError(
                f"provider {self.provider_name!r}: no token from google-auth: {tame(error)}",
                provider_name=self.provider_name,
                transient=error.retryable or isinstance(error, TransportError),
            ) from error
        ends = credentials.expiry  # without a zone, and UTC
        expires_at = ends.replace(tzinfo=UTC) if ends else datetime.now(UTC) + DEFAULT_LIFETIME
        scopes = getattr(credentials, "scopes", None)
        return OAuth2Token(
            str(credentials.token or ""), "Bearer", expires_at, " ".join(scopes or ()) or None
        )
