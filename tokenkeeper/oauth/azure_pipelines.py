"""The token that Azure Pipelines gives a job for one of its service connections."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tokenkeeper._support.checks import checked_text
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.oauth.job_tokens import job_token, job_variable

__all__ = ["AzurePipelinesToken"]

_SYSTEM = "Azure Pipelines"
_API_VERSION = "7.1"
_OUTSIDE = "It is set in a job of Azure Pipelines."
_UNMAPPED = "Map it in the step: env: {SYSTEM_ACCESSTOKEN: $(System.AccessToken)}."
_REFUSED = "Check the id of the service connection, and that the pipeline may use it."
_HEADERS = {
    "Content-Type": "application/json",
    "X-TFS-FedAuthRedirect": "Suppress",  # an error instead of a redirect to a sign-in page
}


class AzurePipelinesToken:
    """A callable that returns a new token of the Azure Pipelines job that this program runs in.

    It is a source for :class:`~tokenkeeper.ClientAssertion`. The step needs the variable
    ``SYSTEM_ACCESSTOKEN``, which has to be mapped to ``$(System.AccessToken)``;
    ``SYSTEM_OIDCREQUESTURI`` is always there. Each call makes one request. Thread-safe; can be
    pickled.

    :param service_connection_id: the id of a service connection with workload identity federation:
        the ``resourceId`` in the URL of its settings.
    :param transport: an ``HttpTransport``; by default one with the usual time limits.
    :raises InvalidConfigurationError: if *service_connection_id* is not a string, or empty.
    """

    __slots__ = ("_transport", "service_connection_id")

    def __init__(self, service_connection_id: str, *, transport: Any = None) -> None:
        self.service_connection_id: str = checked_text(
            service_connection_id, "service_connection_id"
        )
        self._transport = transport

    @without_frames
    def __call__(self) -> str:
        """Return a new token.

        :raises TokenAcquisitionError: if there is none, for example outside of a job.
        """
        url = job_variable("SYSTEM_OIDCREQUESTURI", _SYSTEM, _OUTSIDE).rstrip("/")
        connection = quote(self.service_connection_id, safe="")
        return job_token(
            "POST",
            f"{url}?api-version={_API_VERSION}&serviceConnectionId={connection}",
            system=_SYSTEM,
            authorization=job_variable("SYSTEM_ACCESSTOKEN", _SYSTEM, _UNMAPPED),
            member="oidcToken",
            advice=_REFUSED,
            transport=self._transport,
            headers=_HEADERS,
        )

    def __repr__(self) -> str:
        return f"AzurePipelinesToken({self.service_connection_id!r})"
