"""Which providers have their own time series: a limited number, until they are removed."""

from __future__ import annotations

__all__ = ["OTHER_PROVIDERS", "ProviderLabels"]

OTHER_PROVIDERS = "_other"
"""The common label of all providers beyond the limit."""


class ProviderLabels:
    """The provider names that are used as labels. Its users guard it.

    Names may come from a database, with one for each customer. Each time series costs memory here
    and in the metrics store, so their number is limited.

    :param limit: how many names are used as labels at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def is_new(self, name: str) -> bool:
        """Return whether *name* has no label yet, but would get one."""
        return name not in self._names and len(self._names) < self._limit

    def of(self, name: str) -> str:
        """Return the label of the provider *name*."""
        if self.is_new(name):
            self._names.add(name)
        return name if name in self._names else OTHER_PROVIDERS

    def forget(self, name: str) -> None:
        """Free the label of *name* for another provider."""
        self._names.discard(name)
