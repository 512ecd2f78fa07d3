"""Which hosts a token may be sent to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from tokenkeeper.checks import is_loopback
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["AllowedHosts"]

_PORTS = {"https": 443, "http": 80}
_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
"""What a scheme is for the one who listens on the wire."""


class AllowedHosts:
    """Guards a token against being sent elsewhere. Immutable; equal ones allow the same.

    :param hosts: such as ``"api.example.com"``, or ``".example.com"`` for all names below it; with
        a port, as in ``"api.example.com:8443"``, if it is not the usual one. They are called by
        https, on loopback by http as well; ``"http://api.internal:8080"`` allows what anybody on
        the way can read. ``None`` allows every host that the caller itself chooses to call.
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

    def allow(self, url: str) -> bool:
        """Say whether a token may be sent to *url*."""
        if self._origins is None:
            return True
        try:
            called = _Origin.of(url)
        except ValueError:
            return False
        return any(each.covers(called) for each in self._origins)

    def check(self, url: str) -> None:
        """Raise if the caller asks for *url* and a token may not be sent there.

        :raises InvalidConfigurationError: naming the provider, and what to add to the hosts.
        """
        if not self.allow(url):
            try:
                place = str(_Origin.of(url))
            except ValueError:
                place = "a URL without a host"
            raise self._refused(
                f"its token is not for {place!r}: add that to allowed_hosts, or call it without "
                "this authentication"
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
        safe = called.scheme == "https" or is_loopback(called.host)
        if not (called.scheme == self.scheme if self.scheme else safe):
            return False
        usual = _PORTS.get(called.scheme or "")
        return (called.port or usual) == (self.port or usual)

    def __str__(self) -> str:
        in_clear = self.scheme == "http" and not is_loopback(self.host)
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return ("http://" if in_clear else "") + host + port
