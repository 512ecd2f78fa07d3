"""Sessions for a server that is known by the thumbprint of its certificate, and by nothing else."""

from __future__ import annotations

import re
from typing import Any

import requests
import requests.adapters

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["pinned_session"]

_THUMBPRINT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class _PinnedAdapter(requests.adapters.HTTPAdapter):
    """Checks the certificate's thumbprint in place of its issuer and its names.

    :param thumbprint: SHA-1 or SHA-256, in hexadecimal digits.
    """

    def __init__(self, thumbprint: str) -> None:
        self._thumbprint = thumbprint
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools; urllib3 checks the thumbprint before it sends anything."""
        super().init_poolmanager(*args, **kwargs, assert_fingerprint=self._thumbprint)


def pinned_session(url: str, thumbprint: str, field: str) -> requests.Session:
    """Return a session for *url*, whose certificate has *thumbprint*.

    It uses no proxy: the thumbprint would be compared with the proxy's certificate, or not at all.

    :param field: where the thumbprint comes from, for messages.
    :raises InvalidConfigurationError: if it is not a thumbprint, or *url* is not encrypted.
    """
    digits = re.sub(r"[\s:]", "", thumbprint).lower()
    if not _THUMBPRINT.fullmatch(digits):
        raise InvalidConfigurationError(
            f"{field} must be the thumbprint of a certificate: 40 hexadecimal digits (or 64 "
            "of SHA-256).",
            field=field,
        )
    if not url.lower().startswith("https://"):
        raise InvalidConfigurationError(
            f"{field} is set, so the endpoint must be an https:// URL.", field=field
        )
    session = requests.Session()
    session.trust_env = False
    session.mount("https://", _PinnedAdapter(digits))
    return session
