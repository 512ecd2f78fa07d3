"""The way to a server as requests sees it: a proxy or none, and the CAs that count."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import getproxies

import requests
import requests.utils

__all__ = ["Route", "find_route"]


@dataclass(frozen=True)
class Route:
    """How requests gets from here to a URL.

    :ivar proxy: the proxy's URL without credentials; ``None`` for none.
    :ivar named_by: the variable that names the proxy, where one does.
    :ivar bypassed: a proxy that is set, and that NO_PROXY keeps us from.
    :ivar credentials: for the proxy: user and password.
    :ivar ca_bundle: a file or directory of CA certificates; ``None`` where nothing is verified.
    :ivar ca_named_by: what chose them.
    """

    proxy: str | None
    named_by: str | None
    bypassed: bool
    credentials: tuple[str, str] | None
    ca_bundle: str | None
    ca_named_by: str

    def __repr__(self) -> str:
        return f"Route(proxy={self.proxy!r}, ca_bundle={self.ca_bundle!r})"

    @property
    def tunnels(self) -> bool:
        """Whether the way leads through a proxy that CONNECT can be asked of in clear."""
        return self.proxy is not None and urlsplit(self.proxy).scheme == "http"


def find_route(url: str, verify: bool | str | None) -> Route:
    """Return how a request to *url* goes.

    :raises ValueError: for a proxy whose URL can't be read; without its words, which quote it.
    """
    with requests.Session() as session:
        settings = session.merge_environment_settings(url, {}, None, verify, None)
    # What is not encrypted goes straight to this machine, whatever the environment says.
    proxies = {} if urlsplit(url).scheme == "http" else settings["proxies"]
    proxy = requests.utils.select_proxy(url, proxies)
    ca, chosen_by = _authorities(settings["verify"], verify)
    if not proxy:
        bypassed = bool(requests.utils.select_proxy(url, getproxies()))
        return Route(None, None, bypassed, None, ca, chosen_by)
    named_by = _variable_that_says(proxy, urlsplit(url).scheme)
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(named_by or "the proxy") from None
    if not host:
        raise ValueError(named_by or "the proxy")
    shown = f"[{host}]" if ":" in host else host
    default = 443 if parts.scheme == "https" else 1080 if "socks" in parts.scheme else 80
    credentials = requests.utils.get_auth_from_url(parts.geturl())
    return Route(
        f"{parts.scheme}://{shown}:{port or default}",
        named_by,
        False,
        credentials if any(credentials) else None,
        ca,
        chosen_by,
    )


def _variable_that_says(proxy: str, scheme: str) -> str | None:
    names = [f"{scheme}_proxy", "all_proxy"]
    candidates = [form for name in names for form in (name, name.upper())]
    return next((name for name in candidates if os.environ.get(name) == proxy), None)


def _authorities(effective: object, own: bool | str | None) -> tuple[str | None, str]:
    if effective is False:
        return None, "verify"
    if not isinstance(effective, str):
        return requests.utils.DEFAULT_CA_BUNDLE_PATH, "certifi's, the usual ones"
    if isinstance(own, str):
        return effective, "verify"
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return effective, next((name for name in names if os.environ.get(name)), "the environment")
