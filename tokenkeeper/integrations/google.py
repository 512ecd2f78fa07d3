"""``google-auth``: credentials that give Google's clients the tokens of a keeper.

The other way round, :class:`~tokenkeeper.integrations.google_provider.GoogleCredentialsProvider`
gives a keeper the tokens of any of Google's credentials.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Self

from google.auth.credentials import (
    DEFAULT_UNIVERSE_DOMAIN,
    CredentialsWithQuotaProject,
    CredentialsWithUniverseDomain,
    TokenState,
)
from google.auth.exceptions import RefreshError

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError, TokenRejectedError
from tokenkeeper.integrations._bearer import bearer
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._last_token import LastToken
from tokenkeeper.integrations.google_provider import GoogleCredentialsProvider
from tokenkeeper.keeper import TokenKeeper, source_from
from tokenkeeper.source import TokenSource

__all__ = ["GoogleCredentialsProvider", "KeeperCredentials"]


class KeeperCredentials(NotPicklable, CredentialsWithQuotaProject, CredentialsWithUniverseDomain):
    """The tokens of a keeper as ``google.auth.credentials.Credentials``. Thread-safe.

    Google's clients get the current token for each request, so its expiry is up to the keeper. When
    an API answers 401, they refresh the credentials and send the request again. However many
    requests are refused at once, one renewal follows. If the API refuses the new token as well, the
    caller gets that answer. Scopes that a client asks for are ignored: a keeper's token has those
    of its source or registration.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param quota_project_id: the project for quota and billing; none by default.
    :param universe_domain: the universe domain; ``googleapis.com`` by default.
    :param allowed_hosts: the hosts that may get the token, as for
        :class:`tokenkeeper.integrations.requests.KeeperAuth`.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        quota_project_id: str | None = None,
        universe_domain: str = DEFAULT_UNIVERSE_DOMAIN,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._source = source_from(keeper, provider_name, timeout)
        self._timeout = timeout
        self._last = LastToken(self._source)
        self._hosts = AllowedHosts(self._source.name.provider_name, allowed_hosts)
        self._quota_project_id = quota_project_id
        self._universe_domain = universe_domain

    @property
    def token(self) -> str:
        """The current token, which is requested if there is none.

        :raises google.auth.exceptions.RefreshError: if there is none.
        """
        try:
            return self._last.handed(bearer(self._source, self._timeout))
        except OAuth2Error as error:
            raise _refresh_error(error) from error

    @token.setter
    def token(self, _: str | None) -> None:
        """Do nothing: the constructor of the base class assigns ``None``."""

    @property
    def expiry(self) -> datetime | None:
        """The expiry of the cached token, in UTC without a time zone; ``None`` without one."""
        info = self._source.keeper.get_cached_token_info(self._source.name)
        return info and datetime.fromisoformat(info["expires_at"]).replace(tzinfo=None)

    @expiry.setter
    def expiry(self, _: datetime | None) -> None:
        """Do nothing: the constructor of the base class assigns ``None``."""

    @property
    def expired(self) -> bool:
        """Always ``False``: :attr:`token` is never an expired one."""
        return False

    @property
    def valid(self) -> bool:
        """Always ``True``: :attr:`token` can be used without a refresh."""
        return True

    @property
    def token_state(self) -> TokenState:
        """Always fresh, for the same reason."""
        return TokenState.FRESH

    def before_request(
        self, request: Any, method: str, url: str, headers: MutableMapping[str, str]
    ) -> None:
        """Add the token to *headers*.

        :raises google.auth.exceptions.RefreshError: if there is none.
        :raises InvalidConfigurationError: if the host must not get it.
        """
        self._hosts.check(url)
        self.apply(headers)  # type: ignore[no-untyped-call]

    def refresh(self, request: Any) -> None:
        """Renew the token that this thread got last, unless it was replaced meanwhile.

        :raises google.auth.exceptions.RefreshError: if there is no other one.
        """
        source, timeout = self._source, self._timeout
        refused = self._last.get()
        try:
            if refused is None:
                cached = source.keeper.get_cached_token_info(source.name)
                refused = Hidden(bearer(source, timeout))
                if cached is None:
                    return  # it is new
            # If no other token is granted, the request is sent again, and the caller gets the 401.
            with suppress(TokenRejectedError):
                source.renew_refused(refused.text, timeout=timeout)
        except OAuth2Error as error:
            raise _refresh_error(error) from error

    def with_quota_project(self, quota_project_id: str | None) -> Self:
        """Return the same credentials with another project for quota and billing."""
        return self._with(_quota_project_id=quota_project_id)

    def with_universe_domain(self, universe_domain: str) -> Self:
        """Return the same credentials with another universe domain."""
        return self._with(_universe_domain=universe_domain)

    def _with(self, **changes: str | None) -> Self:
        copy = type(self).__new__(type(self))
        vars(copy).update(vars(self) | changes)
        return copy


def _refresh_error(error: OAuth2Error) -> RefreshError:
    retryable = isinstance(error, TokenAcquisitionError) and error.transient
    return RefreshError(str(error), retryable=retryable)  # type: ignore[no-untyped-call]
