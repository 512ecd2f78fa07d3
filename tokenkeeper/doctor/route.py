"""How requests reaches a server: through which proxy, and with which CA certificates."""

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
    """How requests reaches a URL.

    :ivar proxy: the proxy's URL without credentials; ``None`` for a direct connection.
    :ivar named_by: the environment variable that names the proxy, if one does.
    :ivar bypassed: whether NO_PROXY excludes the host from a proxy that is set.
    :ivar credentials: user and password for the proxy.
    :ivar ca_bundle: a file or directory of CA certificates; ``None`` if nothing is verified.
    :ivar ca_named_by: the setting or variable that names the CA certificates.
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
        """Whether there is a proxy that takes CONNECT requests in clear text."""
        return self.proxy is not None and urlsplit(self.proxy).scheme == "http"


def find_route(url: str, verify: bool | str | None) -> Route:
    """Return how requests reaches *url*.

    :raises ValueError: if the proxy's URL is invalid. The message names its variable, as
        the URL may contain a password.
    """
    with requests.Session() as session:
        settings = session.merge_environment_settings(url, {}, None, verify, None)
    # Plain http is for loopback only, and never sent through a proxy.
    proxies = {} if urlsplit(url).scheme == "http" else settings["proxies"]
    proxy = requests.utils.select_proxy(url, proxies)
    ca, chosen_by = _authorities(settings["verify"], verify)
    if not proxy:
        bypassed = bool(requests.utils.select_proxy(url, getproxies()))
        return Route(None, None, bypassed, None, ca, chosen_by)
    named_by = _variable_with(proxy, urlsplit(url).scheme)
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(named_by or "the proxy setting") from None
    if not host:
        raise ValueError(named_by or "the proxy setting")
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


def _variable_with(proxy: str, scheme: str) -> str | None:
    names = [f"{scheme}_proxy", "all_proxy"]
    candidates = [form for name in names for form in (name, name.upper())]
    return next((name for name in candidates if os.environ.get(name) == proxy), None)


def _authorities(effective: object, own: bool | str | None) -> tuple[str | None, str]:
    if effective is False:
        return None, "verify"
    if not isinstance(effective, str):
        return requests.utils.DEFAULT_CA_BUNDLE_PATH, "certifi, the default"
    if isinstance(own, str):
        return effective, "verify"
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return effective, next((name for name in names if os.environ.get(name)), "the environment")
