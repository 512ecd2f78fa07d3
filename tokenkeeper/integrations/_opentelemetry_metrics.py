"""The OpenTelemetry metrics of tokens: their names, and what each event adds to them."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from tokenkeeper.clock import Clock
from tokenkeeper.events import (
    CooledDown,
    ServedStale,
    TokenAdopted,
    TokenCleared,
    TokenDenied,
    TokenEvent,
    TokenGranted,
    TokenRefused,
)
from tokenkeeper.integrations._durations import DURATION_BUCKETS
from tokenkeeper.integrations._opentelemetry_fleet import FleetMetrics
from tokenkeeper.integrations._opentelemetry_sign_ins import SignInMetrics
from tokenkeeper.integrations._provider_labels import OTHER_PROVIDERS, ProviderLabels
from tokenkeeper.integrations._worst_values import WorstValues
from tokenkeeper.names import is_chosen

__all__ = ["PROVIDER", "TokenMetrics"]

PROVIDER = "tokenkeeper.provider.name"


class TokenMetrics:
    """The metrics of all hooks that share a meter. The hooks guard it with ``forks_wait()``.

    :param clock: the clock for the remaining lifetime when metrics are read.
    :param max_providers: how many providers have their own attributes.
    """

    def __init__(self, meter: Meter, clock: Clock, max_providers: int) -> None:
        self._clock = clock
        self._labels = ProviderLabels(max_providers)
        self._expiries = WorstValues(min)  # Unix times
        self._fleet = FleetMetrics(meter, max_providers)
        self._sign_ins = SignInMetrics(meter, PROVIDER)
        self._durations = meter.create_histogram(
            "tokenkeeper.acquisition.duration",
            unit="s",
            description="Time from the first token request to the outcome, retries included.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,  # SDKs have milliseconds
        )
        self._make_counters(meter)
        meter.create_observable_gauge(
            "tokenkeeper.token.remaining_lifetime",
            [self._observe],
            unit="s",
            description="Time until the current token, of several the first, expires; negative "
            "after that.",
        )

    def _make_counters(self, meter: Meter) -> None:
        self._requests = meter.create_counter(
            "tokenkeeper.token.requests", unit="{request}", description="Token requests."
        )
        self._stale = meter.create_counter(
            "tokenkeeper.token.served_stale",
            unit="{renewal}",
            description="Failed renewals during which callers still got the current token.",
        )
        self._cooldowns = meter.create_counter(
            "tokenkeeper.cooldowns",
            unit="{cooldown}",
            description="Periods in which callers get the last error without a token request.",
        )
        self._refused = meter.create_counter(
            "tokenkeeper.token.refused",
            unit="{token}",
            description="Tokens that an API refused before they expired.",
        )
        self._cleared = meter.create_counter(
            "tokenkeeper.token.cleared", unit="{token}", description="Tokens that were cleared."
        )

    def remove(self, provider_name: str) -> None:
        """Forget a provider. Its counters stay."""
        self._labels.forget(provider_name)
        self._expiries.drop_provider(provider_name)
        self._sign_ins.remove(provider_name)

    def measure(self, event: TokenEvent, attributes: dict[str, str]) -> None:
        """Count *event*, which has *attributes*."""
        name, token_name = event.provider_name, event.token_name
        now = event.occurred_at.timestamp()
        label = self._labels.of(name)
        attributes = {**attributes, PROVIDER: label}
        match event:
            case TokenGranted() | TokenAdopted():
                if label != OTHER_PROVIDERS:
                    self._expiries.set(name, token_name, now + event.remaining_seconds)
            case TokenDenied():
                expiry = self._expiries.get(name, token_name)
                if expiry is not None and not event.remaining_seconds:
                    # There is no token, or an API refused it: its own expiry does not count.
                    self._expiries.set(name, token_name, min(now, expiry))
            case ServedStale():
                self._stale.add(1, attributes)
            case CooledDown():
                self._cooldowns.add(1, attributes)
            case TokenRefused():
                self._refused.add(1, attributes)
            case TokenCleared():
                self._expiries.drop(name, token_name)
                self._cleared.add(1, attributes)
        self._fleet.measure(event, {PROVIDER: label})
        is_known = label != OTHER_PROVIDERS and (
            not is_chosen(token_name) or self._expiries.get(name, token_name) is not None
        )
        self._sign_ins.measure(event, label, is_known=is_known)
        if isinstance(event, TokenAdopted) and event.attempts:
            self._requests.add(event.attempts, {PROVIDER: label})
        if isinstance(event, TokenGranted | TokenDenied):
            self._requests.add(event.attempts, {PROVIDER: label})
            self._durations.record(event.duration_seconds, attributes)

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        now = self._clock.time()
        for name, expires_at in self._expiries.all():
            yield Observation(expires_at - now, {PROVIDER: name})
