"""The proxies and the CA bundle that environment variables set for our requests."""

from __future__ import annotations

import os
import sys
from typing import Any

from requests.utils import should_bypass_proxies

__all__ = ["Environment", "current_environment"]

MOST_HOSTS = 1000
"""Hosts that are remembered. A service has a few; one that makes up thousands leaks no memory."""

_PROXIES = [f"{which}_proxy" for which in ("http", "https", "all", "no")]
_VARIABLES = (*_PROXIES, *map(str.upper, _PROXIES), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_SYSTEM_HAS_PROXIES = sys.platform in ("darwin", "win32")
"""Whether proxies may also come from the settings of the operating system."""


class Environment:
    """The variables as they are, and what was found out about them. Thread-safe.

    requests reads the whole environment twice for each request. Here that is done once, until one
    of the variables changes.

    :ivar settings: proxies and CA for requests that have them in common, by a key of the owner's.
    """

    def __init__(self, variables: tuple[str | None, ...]) -> None:
        self.variables = variables
        self.settings: dict[object, dict[str, Any]] = {}  # entries are complete when they are added
        self._has_proxies = _SYSTEM_HAS_PROXIES or any(variables[: 2 * len(_PROXIES)])
        self._bypassed: dict[str, bool] = {}

    def bypasses_proxies(self, url: str) -> bool:
        """Return whether a request to *url* is sent directly to its host."""
        if not self._has_proxies:
            return True
        host = "/".join(url.partition("?")[0].split("/")[:3])
        bypassed = self._bypassed.get(host)
        if bypassed is None:
            bypassed = should_bypass_proxies(host, no_proxy=None)
            if len(self._bypassed) >= MOST_HOSTS:
                self._bypassed = {}
            self._bypassed[host] = bypassed
        return bypassed


_current = Environment((None,) * len(_VARIABLES))


def current_environment() -> Environment:
    """Return what is known of the environment, unless it has changed since."""
    global _current
    variables = tuple(map(os.environ.get, _VARIABLES))
    environment = _current
    if environment.variables != variables:
        environment = _current = Environment(variables)
    return environment
