"""Asks the CI system that a job runs on for a token that says which job it is."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Literal

from tokenkeeper._runtime.fork import late_import
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.attribution import unattributed
from tokenkeeper.oauth.json_object import UnusableResponseError, read_object

__all__ = ["job_token", "job_variable"]


def job_variable(name: str, system: str, advice: str) -> str:
    """Return an environment variable that the CI system sets.

    :raises TokenAcquisitionError: if it is not set. It is not transient.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise TokenAcquisitionError(
            f"{system}: the variable {name} is not set. {advice}", transient=False
        )
    return value


def job_token(
    method: Literal["GET", "POST"],
    url: str,
    *,
    system: str,
    authorization: str,
    member: str,
    advice: str,
    transport: Any = None,
    headers: dict[str, str] | None = None,
) -> str:
    """Request a token once, and return it.

    :param system: the CI system, for messages.
    :param authorization: the token that the job was given for this request.
    :param member: the member of the answer that has the token.
    :param advice: what to do if the system refuses.
    :param transport: sends the request; by default one with the usual time limits.
    :raises TokenAcquisitionError: if there is none. Messages show no token.
    """
    if transport is None:
        transport = late_import("tokenkeeper.oauth.transport").HttpTransport()
    with unattributed(system):
        answer = transport.request(
            method,
            url,
            provider_name=system,
            authorization=f"Bearer {authorization}",
            headers={"Accept": "application/json", **(headers or {})},
        )
    token = None
    if answer.ok:
        with suppress(UnusableResponseError):
            token = read_object(answer).get(member)
        if isinstance(token, str) and token:
            return token
        problem = f"the answer has no {member}"
    else:
        problem = "no token for this job"
    retry_after = late_import("tokenkeeper.oauth.token_errors").retry_after
    raise TokenAcquisitionError(
        f"{system}: {problem} (HTTP {answer.status}). {advice}",
        status_code=answer.status,
        retry_after=retry_after(answer.headers.get("retry-after"), SYSTEM_CLOCK.time()),
        # An answer without a token won't get better; a status says whether it may.
        transient=False if answer.status < 400 else None,
    )
