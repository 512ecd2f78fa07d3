"""Which hosts a token may be sent to."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["AllowedHosts"]


class AllowedHosts:
    """Guards a token against being sent elsewhere. Immutable; equal ones allow the same.

    :param hosts: host names; one that begins with a dot stands for all names below it. ``None``
        allows every host that the caller itself chooses to call.
    """

    def __init__(self, provider_name: str, hosts: Iterable[str] | None) -> None:
        self._provider_name = provider_name
        if isinstance(hosts, str):
            hosts = [hosts]
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllowedHosts) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self._provider_name, self._hosts))

    def allow(self, host: str | None) -> bool:
        """Say whether a token may be sent to *host*."""
        if self._hosts is None:
            return True
        name = (host or "").lower().rstrip(".")
        return name in self._hosts or any(
            each.startswith(".") and name.endswith(each) for each in self._hosts
        )

    def check(self, url: str) -> None:
        """Raise if the caller asks for *url* and its host is none of those allowed.

        :raises InvalidConfigurationError: naming provider and host.
        """
        host = urlsplit(url).hostname
        if not self.allow(host):
            raise InvalidConfigurationError(
                f"provider {self._provider_name!r}: its token is not for {host!r}: add the host "
                "to allowed_hosts, or call it without this authentication",
                provider_name=self._provider_name,
                field="allowed_hosts",
            )
