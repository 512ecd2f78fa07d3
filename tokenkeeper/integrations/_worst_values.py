"""One value for a provider that has several tokens: the worst of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["WorstValues"]


class WorstValues:
    """The values of tokens, and the worst of each provider's. Its users guard it.

    :param worst: ``min`` or ``max``.
    """

    def __init__(self, worst: Callable[[Iterable[float]], float]) -> None:
        self._worst = worst
        self._values: dict[
            str, dict[str, float]
        ] = {}  # replaced, not changed: readers take no lock

    def set(self, provider: str, token_name: str, value: float) -> float:
        """Set the value of a token; return the worst of its provider."""
        values = self._values[provider] = {**self._values.get(provider, {}), token_name: value}
        return self._worst(values.values())

    def get(self, provider: str, token_name: str) -> float | None:
        """Return the value of a token, or ``None``."""
        return self._values.get(provider, {}).get(token_name)

    def drop(self, provider: str, token_name: str) -> float | None:
        """Forget the value of a token; return the worst of the rest, or ``None``."""
        values = dict(self._values.get(provider, {}))
        values.pop(token_name, None)
        if values:
            self._values[provider] = values
        else:
            self._values.pop(provider, None)
        return self.of(provider)

    def drop_provider(self, provider: str) -> None:
        """Forget the values of a provider."""
        self._values.pop(provider, None)

    def of(self, provider: str) -> float | None:
        """Return the worst value of a provider, or ``None``."""
        values = self._values.get(provider)
        return self._worst(values.values()) if values else None

    def all(self) -> list[tuple[str, float]]:
        """Return the worst value of every provider."""
        return [(name, self._worst(each.values())) for name, each in list(self._values.items())]
