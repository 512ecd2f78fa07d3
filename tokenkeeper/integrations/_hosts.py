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
"""What a scheme is for the one who listens on the wire."""


class AllowedHosts:
    """Guards a token against being sent elsewhere. Immutable; equal ones allow the same.

    :param hosts: such as ``"api.example.com"``, or ``".example.com"`` for all names below it; with
        a port, as in ``"api.example.com:8443"``, if it is not the usual one. They are called by
        https, on loopback by http as well; ``"http://api.internal:8080"`` allows what anybody on
        the way can read. ``None`` allows every host that the caller itself chooses to call in
        these ways, and no other that a redirect leads to.
    :raises InvalidConfigurationError: if one of them is nothing of the kind.
    """

    def __init__(self, provider_name: str, hosts: Iterable[str] | None) -> None:
        self._provider_name = provider_name
        if isinstance(hosts, str):
            hosts = [hosts]
        self._origins = None if hosts is None else frozenset(map(self._read, hosts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllowedHosts) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._provider_name, self._origins))

    @property
    def are_named(self) -> bool:
        """Whether there is a list of them."""
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
        """Raise if the caller asks for *url* and a token may not be sent there.

        :raises InvalidConfigurationError: naming the provider, and what to add to the hosts, or
            the proxy of the environment that a request to this machine would go through in clear.
        """
        if self.allow(url):
            self._check_proxy(url)
        else:
            try:
                place = str(_Origin.of(url))
            except ValueError:
                place = "a URL without a host"
            in_clear = place.startswith("http://")
            cure = "use https, as anybody on the way could read the token, or " if in_clear else ""
            raise self._refused(
                f"its token is not for {place!r}: {cure}add that to allowed_hosts, or call it "
                "without this authentication"
            )

    def _check_proxy(self, url: str) -> None:
        if not url.lower().startswith(("http:", "ws:")) or not is_loopback(_Origin.of(url).host):
            return
        if select_proxy(url, get_environ_proxies(url)):
            self.check_proxy(url)

    def check_proxy(self, url: str) -> None:
        """Raise if *url*, which is called through a proxy, is this machine's.

        :raises InvalidConfigurationError: saying how to call it without one.
        """
        host = _Origin.of(url).host
        if is_loopback(host):
            raise self._refused(
                f"a request to {host!r} would go through a proxy, which can read the token: set "
                f"NO_PROXY={host}, or give the client no proxy"
            )

    def _read(self, host: str) -> _Origin:
        try:
            return _Origin.written(host)
        except (AttributeError, TypeError, ValueError):
            shown = str(host).rpartition("@")[2]  # what stands before it may be a password
            raise self._refused(
                f"allowed_hosts: {shown!r} is no host: write it as 'api.example.com', "
                "'.example.com', 'api.example.com:8443' or 'http://api.internal:8080'"
            ) from None

    def _refused(self, problem: str) -> InvalidConfigurationError:
        return InvalidConfigurationError(
            f"provider {self._provider_name!r}: {problem}",
            provider_name=self._provider_name,
            field="allowed_hosts",
        )


class _Origin(NamedTuple):
    """Where a request goes (RFC 6454 §4), or requests may go; what is left open has defaults."""

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
        if "\\" in parts.netloc:  # urllib3 ends the host there, and so do browsers
            raise ValueError
        return cls(_SCHEMES.get(parts.scheme), host, parts.port)

    @classmethod
    def written(cls, text: str) -> Self:
        """Return what a user wrote.

        :raises ValueError: if it is more, or less, than an origin.
        """
        if set(text) & set("@*\\?#") or any(map(str.isspace, text)) or not text.isascii():
            raise ValueError
        url = text if "://" in text else f"//{text}"
        if urlsplit(url).path not in ("", "/"):
            raise ValueError
        return cls.of(url)

    def covers(self, called: _Origin) -> bool:
        """Say whether a token for this one may be sent to *called*, the origin of a URL."""
        below = self.host.startswith(".") and called.host.endswith(self.host)
        if called.host != self.host and not below:
            return False
        if not (called.scheme == self.scheme if self.scheme else called.is_safe):
            return False
        usual = _PORTS.get(called.scheme or "")
        return (called.port or usual) == (self.port or usual)

    @property
    def is_safe(self) -> bool:
        """Whether nobody on the way there can read what is sent."""
        return self.scheme == "https" or is_loopback(self.host)

    def __str__(self) -> str:
        in_clear = self.scheme == "http" and not is_loopback(self.host)
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return ("http://" if in_clear else "") + host + port


def origin_of(url: str) -> object:
    """Return what is equal for two URLs of one origin (RFC 6454 §4); ``None`` for no such URL."""
    try:
        origin = _Origin.of(url)
    except ValueError:
        return None
    return origin._replace(port=origin.port or _PORTS.get(origin.scheme or ""))
