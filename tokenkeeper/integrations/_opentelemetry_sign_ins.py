"""The OpenTelemetry metrics of grants that a person begins by signing in."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from tokenkeeper.events import (
    SignInCompleted,
    SignInFailed,
    TokenAdopted,
    TokenCleared,
    TokenDenied,
    TokenEvent,
    TokenGranted,
)
from tokenkeeper.integrations._worst_values import WorstValues

__all__ = ["SignInMetrics"]

_ENDS = (TokenGranted, TokenAdopted, TokenCleared, SignInCompleted)
"""After these, no sign-in of the token is needed, as far as is known."""


class SignInMetrics:
    """Sign-ins, and whether one is needed, as metrics. The hook guards it with ``forks_wait()``.

    :param provider_key: the attribute with a provider's name.
    """

    def __init__(self, meter: Meter, provider_key: str) -> None:
        self._provider_key = provider_key
        self._needed_by = WorstValues(max)
        self._shown: dict[str, float] = {}  # replaced, not changed: readers take no lock
        self._sign_ins = meter.create_counter(
            "tokenkeeper.sign_ins",
            unit="{sign_in}",
            description="Sign-ins that ended: completed, or failed.",
        )
        meter.create_observable_gauge(
            "tokenkeeper.sign_in.needed",
            [self._observe],
            description="1 while a person has to sign in before there can be a token, 0 once there "
            "is one.",
        )

    def measure(self, event: TokenEvent, provider: str, *, is_known: bool) -> None:
        """Count *event*.

        :param provider: the attribute's value for its provider.
        :param is_known: whether its token counts in gauges: another event will forget it.
        """
        name = event.token_name
        outcome = "completed" if isinstance(event, SignInCompleted) else "failed"
        if isinstance(event, SignInCompleted | SignInFailed):
            self._sign_ins.add(
                1, {self._provider_key: provider, "tokenkeeper.sign_in.outcome": outcome}
            )
        if isinstance(event, TokenDenied):
            if event.needs_sign_in and is_known:
                self._needed_by.set(provider, name, 1.0)
                self._show(provider)
        elif isinstance(event, _ENDS) and self._needed_by.get(provider, name) is not None:
            self._needed_by.drop(provider, name)
            self._show(provider)

    def remove(self, provider_name: str) -> None:
        """Forget a provider."""
        self._needed_by.drop_provider(provider_name)
        self._shown = {name: each for name, each in self._shown.items() if name != provider_name}

    def _show(self, provider: str) -> None:
        self._shown = {**self._shown, provider: self._needed_by.of(provider) or 0.0}

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        for provider, value in self._shown.items():
            yield Observation(value, {self._provider_key: provider})
