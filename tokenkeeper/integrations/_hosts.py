"""Which hosts a token may be sent to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from tokenkeeper._support.checks import is_loopback
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["AllowedHosts", "origin_of"]

_PORTS = {"https": 443, "http": 80}
_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
"""The scheme that each URL scheme uses on the wire."""


class AllowedHosts:
    """Guards a token against being sent to other hosts. Immutable; equal ones allow the same.

    :param hosts: such as ``"api.example.com"``, or ``".example.com"`` for all names below it; with
        a port, as in ``"api.example.com:8443"``, if it is not the default one. These allow https,
        and on loopback http as well; ``"http://api.internal:8080"`` allows plain http, which
        anyone on the way can read. ``None`` allows, on the same terms, every host that the caller
        itself chooses, but no other host that a redirect leads to.
    :raises InvalidConfigurationError: if one of them is not a host.
    """

    def __init__(self, provider_name: str, hosts: Iterable[str] | None) -> None:
        self._provider_name = provider_name
        if isinstance(hosts, str):
            hosts = [hosts]
        self._origins = None if hosts is None else frozenset(map(self._parse, hosts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllowedHosts) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._provider_name, self._origins))

    @property
    def are_named(self) -> bool:
        """Whether there is a list of hosts."""
        return self._origins is not None

    def allow(self, url: str) -> bool:
        """Return whether a token may be sent to *url*."""
        try:
            called = _Origin.of(url)
        except ValueError:
            return False
        if self._origins is None:
            return called.is_safe
        return any(each.covers(called) for each in self._origins)

    def check(self, url: str) -> None:
        """Raise an error if a token must not be sent to *url*, which the caller requested.

        :raises InvalidConfigurationError: naming the provider and the host to add to the list; or
            the proxy setting that would route a request to this machine through a proxy.
        """
        if self.allow(url):
            self._check_proxy(url)
            return
        try:
            place = str(_Origin.of(url))
        except ValueError:
            raise self._error(
                "its token must not be sent to a URL without a host, or by a scheme other than "
                "https and http."
            ) from None
        if place.startswith("http://"):
            fix = "Anyone on the way could read it: use https, add this host to allowed_hosts,"
        else:
            fix = "Add this host to allowed_hosts,"
        raise self._error(
            f"its token must not be sent to {place!r}. {fix} or call it without this "
            "authentication."
        )

    def _check_proxy(self, url: str) -> None:
        if not url.lower().startswith(("http:", "ws:")) or not is_loopback(_Origin.of(url).host):
            return
        if select_proxy(url, get_environ_proxies(url)):
            self.check_proxy(url)

    def check_proxy(self, url: str) -> None:
        """Raise an error if *url*, which is called through a proxy, is on this machine.

        :raises InvalidConfigurationError: explaining how to call it without the proxy.
        """
        host = _Origin.of(url).host
        if is_loopback(host):
            raise self._error(
                f"a request to {host!r} would go through a proxy, which can read the token. Set "
                f"NO_PROXY={host}, or configure the client without a proxy."
            )

    def _parse(self, host: str) -> _Origin:
        try:
            return _Origin.parse(host)
        except (AttributeError, TypeError, ValueError):
            shown = str(host).rpartition("@")[2]  # a password may precede it
            raise self._error(
                f"allowed_hosts contains {shown!r}, which is not a host. Write it as "
                "'api.example.com', '.example.com', 'api.example.com:8443' or "
                "'http://api.internal:8080'."
            ) from None

    def _error(self, problem: str) -> InvalidConfigurationError:
        return InvalidConfigurationError(
            f"provider {self._provider_name!r}: {problem}",
            provider_name=self._provider_name,
            field="allowed_hosts",
        )


class _Origin(NamedTuple):
    """The origin of a URL (RFC 6454 §4), or a pattern for origins; ``None`` means the default."""

    scheme: str | None
    host: str
    port: int | None

    @classmethod
    def of(cls, url: str) -> Self:
        """Return the origin of *url*.

        :raises ValueError: if it has none.
        """
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if not host or (parts.scheme and parts.scheme not in _SCHEMES):
            raise ValueError
        if "\\" in parts.netloc:  # urllib3 and browsers take it for the end of the host
            raise ValueError
        return cls(_SCHEMES.get(parts.scheme), host, parts.port)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the origins that *text*, an item of ``allowed_hosts``, describes.

        :raises ValueError: if it is not an origin, or more than one, such as a URL with a path.
        """
        if set(text) & set("@*\\?#") or any(map(str.isspace, text)) or not text.isascii():
            raise ValueError
        url = text if "://" in text else f"//{text}"
        if urlsplit(url).path not in ("", "/"):
            raise ValueError
        return cls.of(url)

    def covers(self, called: _Origin) -> bool:
        """Return whether a token for this pattern may be sent to *called*, the origin of a URL."""
        is_below = self.host.startswith(".") and called.host.endswith(self.host)
        if called.host != self.host and not is_below:
            return False
        if not (called.scheme == self.scheme if self.scheme else called.is_safe):
            return False
        default = _PORTS.get(called.scheme or "")
        return (called.port or default) == (self.port or default)

    @property
    def is_safe(self) -> bool:
        """Whether what is sent there can't be read on the way."""
        return self.scheme == "https" or is_loopback(self.host)

    def __str__(self) -> str:
        is_plain = self.scheme == "http" and not is_loopback(self.host)
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return ("http://" if is_plain else "") + host + port


def origin_of(url: str) -> object:
    """Return an object that is equal for URLs of one origin; ``None`` for a URL without one."""
    try:
        origin = _Origin.of(url)
    except ValueError:
        return None
    return origin._replace(port=origin.port or _PORTS.get(origin.scheme or ""))
