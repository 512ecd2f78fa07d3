"""Which providers have time series of their own: so many at most, and until they are removed."""

from __future__ import annotations

__all__ = ["OTHER_PROVIDERS", "ProviderLabels"]

OTHER_PROVIDERS = "_other"
"""The label of all providers beyond the limit."""


class ProviderLabels:
    """The names of providers that are labels by themselves. Thread-safe.

    Names may come from a database, one for each customer. A time series costs memory here and in
    whatever stores it, so their number has a limit.

    :param limit: how many names at most.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def is_new(self, name: str) -> bool:
        """Return whether *name* has no label yet, and may have one."""
        return name not in self._names and len(self._names) < self._limit

    def of(self, name: str) -> str:
        """Return the label of the provider *name*."""
        if self.is_new(name):
            self._names.add(name)
        return name if name in self._names else OTHER_PROVIDERS

    def forget(self, name: str) -> None:
        """Let another provider have the place of *name*."""
        self._names.discard(name)
