"""The JWT bearer grant (RFC 7523 §2.1): a signed statement about a subject, for a token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper.names import TokenParameters
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.late_text import LateText, checked_late_text
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.presented import identity_of, read_for

__all__ = ["JwtBearer"]


class JwtBearer(Grant):
    """Presents a JWT, which the server grants a token for (RFC 7523 §2.1). Thread-safe.

    :param assertion: where the JWT comes from: a :class:`~tokenkeeper.SignedJwt` signs it, a
        :class:`~tokenkeeper.TokenSource` gets it from another server, a ``Path`` is a file that is
        read. It is asked for each request, because a server may accept each JWT once.
    :raises InvalidConfigurationError: for anything else.
    """

    grant_type: str = "urn:ietf:params:oauth:grant-type:jwt-bearer"

    def __init__(self, assertion: LateText) -> None:
        self._assertion = checked_late_text(assertion, "assertion")

    def parameters(self, wanted: TokenParameters, to: Recipient) -> Mapping[str, Any]:
        """Return a newly read assertion."""
        return {"assertion": read_for(self._assertion, "the assertion", to)}

    def identity(self) -> Mapping[str, object]:
        """Return whose assertion it is, or where it is read from."""
        return {"assertion": identity_of(self._assertion)}
