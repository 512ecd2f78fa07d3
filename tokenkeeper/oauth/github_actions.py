"""The identity token of a GitHub Actions workflow, which other servers exchange for one of theirs.

https://docs.github.com/actions/reference/security/oidc describes the request.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from tokenkeeper._runtime.fork import late_import
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.json_object import UnusableResponseError, read_object

__all__ = ["GitHubToken"]

URL_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_URL"
TOKEN_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class GitHubToken:
    """Requests the identity token of this workflow when it is called. Thread-safe.

    A token lives for a few minutes, so a new one is requested for each attempt.

    :param audience: whom the token is for, such as the URL of the server that will accept it.
    """

    audience: str

    def __call__(self) -> str:
        """Return a new token.

        :raises TokenAcquisitionError: outside of a workflow, without its permission, or if GitHub
            does not answer with a token.
        """
        url, token = os.environ.get(URL_VARIABLE), os.environ.get(TOKEN_VARIABLE)
        if not url or not token:
            raise TokenAcquisitionError(
                f"GitHub's token is not available: {URL_VARIABLE} and {TOKEN_VARIABLE} are not "
                "set. Run in a workflow that has the permission id-token: write",
                transient=False,
            )
        transport = late_import("tokenkeeper.oauth.transport").HttpTransport()
        joint = "&" if "?" in url else "?"
        answer = transport.request(
            "GET",
            f"{url}{joint}audience={quote(self.audience, safe='')}",
            provider_name="GitHub Actions",
            authorization=f"Bearer {token}",
        )
        value = None
        with suppress(UnusableResponseError):
            value = read_object(answer).get("value") if answer.ok else None
        if isinstance(value, str) and value:
            return value
        raise TokenAcquisitionError(
            f"GitHub granted no token (HTTP {answer.status})",
            status_code=answer.status,
            transient=answer.status >= 500 or answer.status == 429,
        )
