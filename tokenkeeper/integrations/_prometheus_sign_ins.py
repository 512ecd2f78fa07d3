"""The Prometheus metrics of grants that a person begins by signing in."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

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

__all__ = ["OUTCOMES", "SignInMetrics"]

OUTCOMES = ("completed", "failed")
"""The values of the label ``outcome``."""

_ENDS = (TokenGranted, TokenAdopted, TokenCleared, SignInCompleted)
"""After these, no sign-in of the token is needed, as far as is known."""


class SignInMetrics:
    """Sign-ins, and whether one is needed. The hooks guard it with ``forks_wait()``.

    A provider whose grant needs no sign-in has none of these time series.

    :ivar needed: whether a sign-in is needed; its label is ``provider``.
    :ivar ended: the sign-ins that ended; its labels are ``provider`` and ``outcome``.
    """

    def __init__(self) -> None:
        self._needed_by = WorstValues(max)
        self.needed = Gauge(
            "tokenkeeper_sign_in_needed",
            "1 while a person has to sign in before there can be a token, 0 once there is one.",
            ["provider"],
            registry=None,
            multiprocess_mode="livemax",
        )
        self.ended = Counter(
            "tokenkeeper_sign_ins_total",
            "Sign-ins that ended: completed, or failed.",
            ["provider", "outcome"],
            registry=None,
        )

    def count(self, event: TokenEvent, provider: str, *, is_known: bool) -> None:
        """Count *event*.

        :param provider: the label of its provider.
        :param is_known: whether its token counts in gauges: another event will forget it.
        """
        name = event.token_name
        match event:
            case SignInCompleted():
                self.ended.labels(provider, "completed").inc()
            case SignInFailed():
                self.ended.labels(provider, "failed").inc()
            case TokenDenied(needs_sign_in=True) if is_known:
                self._needed_by.set(provider, name, 1.0)
                self._show(provider)
        if isinstance(event, _ENDS) and self._needed_by.get(provider, name) is not None:
            self._needed_by.drop(provider, name)
            self._show(provider)

    def remove(self, provider_name: str) -> None:
        """Forget a provider, and set its gauge to a value that means that nothing is wrong."""
        if self._needed_by.of(provider_name) is not None:
            self._needed_by.drop_provider(provider_name)
            self._show(provider_name)

    def _show(self, provider: str) -> None:
        self.needed.labels(provider).set(self._needed_by.of(provider) or 0.0)
