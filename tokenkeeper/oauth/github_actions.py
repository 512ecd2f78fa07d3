"""The token that GitHub Actions gives a job (OpenID Connect)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tokenkeeper._support.checks import checked_text
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.oauth.job_tokens import job_token, job_variable

__all__ = ["GitHubActionsToken"]

_SYSTEM = "GitHub Actions"
_ADVICE = "Give the job the permission id-token: write."


class GitHubActionsToken:
    """A callable that returns a new token of the GitHub Actions job that this program runs in.

    It is a source for :class:`~tokenkeeper.ClientAssertion`, or the subject of a token exchange.
    The job needs the permission ``id-token: write``. Each call makes one request to the address
    in ``ACTIONS_ID_TOKEN_REQUEST_URL``, with ``ACTIONS_ID_TOKEN_REQUEST_TOKEN``. Thread-safe; can
    be pickled. Forgejo and Gitea have the same interface.

    :param audience: the ``aud`` of the token, as the server expects it, such as
        ``api://AzureADTokenExchange``.
    :param transport: an ``HttpTransport``; by default one with the usual time limits.
    :raises InvalidConfigurationError: if *audience* is not a string, or empty.
    """

    __slots__ = ("_transport", "audience")

    def __init__(self, audience: str, *, transport: Any = None) -> None:
        self.audience: str = checked_text(audience, "audience")
        self._transport = transport

    @without_frames
    def __call__(self) -> str:
        """Return a new token.

        :raises TokenAcquisitionError: if there is none, for example outside of a job.
        """
        url = job_variable("ACTIONS_ID_TOKEN_REQUEST_URL", _SYSTEM, _ADVICE)
        separator = "&" if "?" in url else "?"
        return job_token(
            "GET",
            f"{url}{separator}audience={quote(self.audience, safe='')}",
            system=_SYSTEM,
            authorization=job_variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN", _SYSTEM, _ADVICE),
            member="value",
            advice=_ADVICE,
            transport=self._transport,
        )

    def __repr__(self) -> str:
        return f"GitHubActionsToken({self.audience!r})"
