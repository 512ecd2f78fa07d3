"""What grants have in common whose refresh tokens work once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from tokenkeeper._support.checks import checked_switch, checked_words
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.names import TokenParameters
from tokenkeeper.providers.grants.base import Grant

__all__ = ["OneTimeGrant"]

_log = logging.getLogger("tokenkeeper.oauth")


class OneTimeGrant(Grant):
    """The base of grants that are continued with refresh tokens (RFC 6749 §6).

    :param resources: the resources that were authorized (RFC 8707 §2.2). Another one is refused
        before it is requested, since some servers revoke a refresh token that is used for it.
        ``None``, the default, leaves that to the server.
    :param scope_by_refresh: whether a source may narrow the scope by the request (RFC 6749 §6);
        ``False`` by default. Some servers then narrow the grant for good.
    :param on_rotated: called with each new refresh token, on the thread that made the request,
        before the token that came with it is used; none by default. Its exceptions are logged.
    :raises InvalidConfigurationError: for an argument that can't work.
    """

    works_once: bool = True

    def __init__(
        self,
        *,
        resources: str | Iterable[str] | None = None,
        scope_by_refresh: bool = False,
        on_rotated: Callable[[str], object] | None = None,
    ) -> None:
        if on_rotated is not None and not callable(on_rotated):
            raise InvalidConfigurationError(
                "on_rotated must be a function of the new refresh token", field="on_rotated"
            )
        self._resources = None if resources is None else set(checked_words(resources, "resources"))
        self._on_rotated = on_rotated
        narrows = checked_switch(scope_by_refresh, "scope_by_refresh")
        self.takes: frozenset[str] = frozenset(
            {"resource", "audience"} | ({"scope"} if narrows else set())
        )

    @property
    def resources(self) -> tuple[str, ...]:
        """The resources that the option names, sorted; empty if there are none."""
        return tuple(sorted(self._resources or ()))

    def check(self, wanted: TokenParameters) -> None:
        """Raise unless *wanted* was authorized.

        :raises InvalidConfigurationError: naming the resource.
        """
        if self._resources is not None:
            check_resources(wanted, self._resources)

    def check_authorized(self, wanted: TokenParameters, authorized: Iterable[str]) -> None:
        """Raise unless *wanted* was among what the sign-in asked for.

        :param authorized: the resources that it named; empty if it named none.
        :raises InvalidConfigurationError: naming the resource.
        """
        if self._resources is None and authorized:
            check_resources(wanted, set(authorized))

    def rotated(self, refresh_token: str) -> None:
        """Report that the server sent *refresh_token*. Raises nothing."""
        if self._on_rotated is None:
            return
        try:
            self._on_rotated(refresh_token)
        except Exception as error:  # noqa: BLE001 - its text may contain the token
            _log.warning("on_rotated raised %s", type(error).__name__)

    def identity(self) -> Mapping[str, object]:
        """Return nothing: the first refresh token is replaced by others."""
        return {}


def check_resources(wanted: TokenParameters, authorized: set[str]) -> None:
    """Raise unless the resources of *wanted* are among *authorized*.

    :raises InvalidConfigurationError: naming the resource.
    """
    for resource in wanted.resource:
        if resource not in authorized:
            listed = ", ".join(sorted(authorized)) or "none"
            raise InvalidConfigurationError(
                f"resource {resource} was not authorized. Use one of: {listed}",
                field="resource",
            )
