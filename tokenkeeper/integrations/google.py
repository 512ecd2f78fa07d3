"""``google-auth``: any of its credentials as a provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import google.auth.exceptions
import google.auth.transport.requests
import requests
from google.auth.exceptions import TransportError

from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.network import network_reason
from tokenkeeper.oauth.words import tame
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    import google.auth.credentials

__all__ = ["GoogleCredentialsProvider"]

DEFAULT_LIFETIME = timedelta(hours=1)
"""What a token of Google's lives, where the credentials do not say."""


class GoogleCredentialsProvider(BaseOAuth2Provider):
    """Gets tokens from credentials of ``google-auth``; each renewal really asks for one.

    Thread-safe as far as the credentials are.

    :param credentials: from ``google.auth.default(scopes=[...])`` or any of its classes, those for
        ID tokens included. They are the provider's from here on: nobody else should refresh them.
    :param options: what ``BaseOAuth2Provider`` takes.
    :raises InvalidConfigurationError: for credentials of ``google.auth.aio``. The blocking ones
        serve blocking and async callers.
    """

    def __init__(
        self,
        provider_name: str,
        credentials: google.auth.credentials.Credentials,
        **options: Any,
    ) -> None:
        super().__init__(provider_name, **options)
        if iscoroutinefunction(credentials.refresh):
            raise InvalidConfigurationError(
                f"provider {provider_name!r}: credentials must be blocking ones of google-auth, "
                "not of google.auth.aio: they serve async callers as well",
                provider_name=provider_name,
                field="credentials",
            )
        self._credentials = credentials

    def acquire_token(self) -> OAuth2Token:
        """Have the credentials refresh themselves."""
        credentials = self._credentials
        try:
            # Nothing is kept open, so no connection is shared with a forked child.
            with requests.Session() as session:
                request = google.auth.transport.requests.Request(session)
                credentials.refresh(request)  # type: ignore[no-untyped-call]
        except google.auth.exceptions.GoogleAuthError as error:
            raise self._failed(error) from error
        ends = credentials.expiry  # without a zone, and UTC
        expires_at = ends.replace(tzinfo=UTC) if ends else datetime.now(UTC) + DEFAULT_LIFETIME
        scopes = getattr(credentials, "scopes", None)
        return OAuth2Token(
            str(credentials.token or ""), "Bearer", expires_at, " ".join(scopes or ()) or None
        )

    def _failed(self, error: google.auth.exceptions.GoogleAuthError) -> TokenAcquisitionError:
        # Beside its words an error may carry all that the server said, tokens included.
        words = error.args[0] if error.args else type(error).__name__
        held = ("client_secret", "refresh_token", "token")
        secrets = [getattr(self._credentials, name, None) for name in held]
        return TokenAcquisitionError(
            f"provider {self.provider_name!r}: google-auth could not get a token: "
            f"{tame(words, filter(None, secrets))}",
            provider_name=self.provider_name,
            network_reason=network_reason(error),
            transient=error.retryable or isinstance(error, TransportError),
        )
