"""Brings a keeper in line with a configuration that changed, with no gap in service."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

from tokenkeeper._renewal.coordinator import Coordinator
from tokenkeeper._renewal.registry import name_is_taken
from tokenkeeper._runtime import provider_loop
from tokenkeeper.config.configuration import Configuration
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.exceptions import UnknownProviderError
from tokenkeeper.models import ReloadResult
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["reload"]


def reload(
    coordinator: Coordinator,
    configuration: Configuration,
    add: Callable[[BaseOAuth2Provider], None],
) -> ReloadResult:
    """Read *configuration* again and apply what changed. One thread at a time does so.

    :param add: registers a provider.
    :returns: the names that were ``added``, ``changed`` and ``removed``.
    :raises InvalidConfigurationError: if something is wrong; then nothing changes.
    :raises KeeperClosedError: if the keeper was closed.
    """
    state = coordinator.state

    def check(names: Iterable[str]) -> None:
        registered = {each.provider_name: each for each in state.providers()}
        for name in names:
            if not isinstance(registered.get(name), ReloadableProvider | None):
                raise name_is_taken(name)

    with configuration.turn:
        changed = configuration.reload(check)
        # Compare with what is registered: an earlier call may have been interrupted halfway.
        wanted, there = configuration.providers, state.providers()
        removed = []
        for each in there:
            is_ours = isinstance(each, ReloadableProvider)
            if is_ours and each not in wanted and state.discard(each):
                provider_loop.call(each.close)
                removed.append(each.provider_name)
        added = [each for each in wanted if each not in there]
        for provider in added:
            add(provider)
    for name in changed:
        with suppress(UnknownProviderError):  # it was removed meanwhile
            coordinator.upkeep.reconsider(name)
    names = [each.provider_name for each in added]
    return {"added": names, "changed": changed, "removed": removed}
