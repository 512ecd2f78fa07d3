"""Tokens for Google's APIs, without google-auth."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Unpack

from tokenkeeper._support.checks import checked_text
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError, naming
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.attribution import attributed_to
from tokenkeeper.oauth.late_text import read_late
from tokenkeeper.providers.google_base import GoogleOptions, GoogleTokens
from tokenkeeper.providers.google_client import checked_account
from tokenkeeper.providers.google_credentials import GoogleCredentials, MetadataServer, read_file

__all__ = ["GoogleProvider"]


class GoogleProvider(GoogleTokens):
    """Gets tokens for Google's APIs by a credential file or the metadata server. Thread-safe.

    The file is one that Google's console or ``gcloud`` wrote: the key of a service account, or the
    description of an external account (workload identity federation), whose subject token is in a
    file or at a URL. It is read for each request, so a replaced key is noticed. For other kinds of
    files, and for AWS, use ``tokenkeeper.integrations.google_provider.GoogleCredentialsProvider``
    with google-auth.

    A source may choose the ``scope``, and as ``account`` the user that a service account acts for.

    :param credentials_file: the file; by default the one that ``GOOGLE_APPLICATION_CREDENTIALS``
        names. Without either, the metadata server of the machine grants the token; the variable
        ``GCE_METADATA_HOST`` replaces its host.
    :param subject: the user that a service account acts for, by domain-wide delegation; ``None``,
        the default, for none.
    :param service_account: whose token to request from the metadata server; ``default`` by default.
    :param options: ``scope`` and the other options of ``GoogleTokens``. From a metadata
        server, no scope asks for those of the machine.
    :raises InvalidConfigurationError: for a file or an option that can't be used.
    """

    takes: frozenset[str] = frozenset({"scope", "account"})

    def __init__(
        self,
        provider_name: str,
        credentials_file: str | os.PathLike[str] | None = None,
        *,
        subject: str | None = None,
        service_account: str = "default",
        **options: Unpack[GoogleOptions],
    ) -> None:
        super().__init__(provider_name, **options)
        file = credentials_file or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        self._parsed: tuple[bytes, GoogleCredentials] | None = None
        with naming(provider_name):
            if isinstance(file, os.PathLike):
                file = os.fspath(file)
            self._file = Path(checked_text(file, "credentials_file")) if file else None
            self._subject = None if subject is None else checked_text(subject, "subject")
            self._metadata = MetadataServer(checked_account(service_account))
            try:
                self._credentials()
            except TokenAcquisitionError as unreadable:
                problem = str(unreadable)
            else:
                return
            raise InvalidConfigurationError(problem, field="credentials_file")

    def _credentials(self) -> GoogleCredentials:
        """Return the credentials as the file has them now.

        :raises TokenAcquisitionError: if it can't be read.
        :raises InvalidConfigurationError: for its content.
        """
        if self._file is None:
            return self._metadata
        text = read_late(self._file, "credentials_file")
        digest = hashlib.sha256(text.encode()).digest()
        parsed = self._parsed
        if parsed is None or parsed[0] != digest:
            self._parsed = parsed = (digest, read_file(text))  # one assignment, which needs no lock
            seconds = parsed[1].requests * self._google.transport.total_timeout
            self.longest_request_seconds: float = seconds
        return parsed[1]

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Request a token with the credentials as they are now."""
        with attributed_to(self.provider_name):
            try:
                credentials = self._credentials()
            except InvalidConfigurationError as unfit:
                problem = str(unfit)
            else:
                account = self.parameters.account or self._subject
                return credentials.token(self._google, self._wanted_scope(), account)
        raise TokenAcquisitionError(
            f"provider {self.provider_name!r}: {problem}",
            provider_name=self.provider_name,
            transient=True,  # the file may just be being replaced
        )

    def describe(self) -> Mapping[str, object]:
        """Return the settings of this provider without secrets."""
        credentials = self._parsed[1] if self._parsed else self._metadata
        return {**super().describe(), **credentials.describe(), "subject": self._subject}

    def identity(self) -> Mapping[str, object]:
        """Return the settings that identify the account."""
        credentials = self._parsed[1] if self._parsed else self._metadata
        return {**super().identity(), **credentials.identity()}
