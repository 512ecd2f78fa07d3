"""One value for a provider that has several tokens: the worst of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["WorstValues"]


class WorstValues:
    """The values of tokens, and the worst of each provider's.

    Its users guard it, except for :meth:`all`, which any thread may call at any time.

    A provider may have ten thousand tokens, and most changes concern one of them. So values are
    compared only when the worst one is asked for.

    :param worst: ``min`` or ``max``.
    """

    def __init__(self, worst: Callable[[Iterable[float]], float]) -> None:
        self._worst = worst
        self._values: dict[str, dict[str, float]] = {}

    def set(self, provider: str, token_name: str, value: float) -> None:
        """Set the value of a token."""
        self._values.setdefault(provider, {})[token_name] = value

    def get(self, provider: str, token_name: str) -> float | None:
        """Return the value of a token, or ``None``."""
        return self._values.get(provider, {}).get(token_name)

    def drop(self, provider: str, token_name: str) -> None:
        """Forget the value of a token."""
        values = self._values.get(provider, {})
        values.pop(token_name, None)
        if not values:
            self._values.pop(provider, None)

    def drop_provider(self, provider: str) -> None:
        """Forget the values of a provider."""
        self._values.pop(provider, None)

    def of(self, provider: str) -> float | None:
        """Return the worst value of a provider, or ``None``."""
        values = self._values.get(provider)
        return self._worst(values.values()) if values else None

    def all(self) -> list[tuple[str, float]]:
        """Return the worst value of every provider."""
        copies = [(name, values.copy()) for name, values in self._values.copy().items()]  # atomic
        return [(name, self._worst(each.values())) for name, each in copies if each]
