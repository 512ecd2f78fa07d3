"""The OpenTelemetry metrics of keepers that share a store."""

from __future__ import annotations

import math
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from tokenkeeper.events import (
    ClaimTakenOver,
    ClocksDisagree,
    RecordReplaced,
    StoreRecovered,
    StoreUnavailable,
    TokenAdopted,
    TokenDenied,
    TokenEvent,
    TokenGranted,
)
from tokenkeeper.integrations._durations import AGE_BUCKETS, STORE_BUCKETS
from tokenkeeper.integrations._provider_labels import OTHER_PROVIDERS, ProviderLabels

__all__ = ["FleetMetrics"]

STORE = "tokenkeeper.store.name"


class FleetMetrics:
    """What happens in a fleet, as metrics. The hook guards it with ``forks_wait()``.

    :param max_stores: how many stores have their own attributes.
    """

    def __init__(self, meter: Meter, max_stores: int) -> None:
        self._stores = ProviderLabels(max_stores)
        self._unavailable: dict[str, int] = {}  # replaced, not changed: readers take no lock
        self._make_counters(meter)
        self._make_histograms(meter)
        meter.create_observable_gauge(
            "tokenkeeper.store.unavailable",
            [self._observe],
            description="1 while the store can't be used, 0 once it can again.",
        )

    def _make_counters(self, meter: Meter) -> None:
        self._adopted = meter.create_counter(
            "tokenkeeper.token.adopted",
            unit="{token}",
            description="Tokens that another process requested, taken over from the store.",
        )
        self._taken_over = meter.create_counter(
            "tokenkeeper.claims.taken_over",
            unit="{claim}",
            description="Token requests that another process claimed and did not finish.",
        )
        self._replaced = meter.create_counter(
            "tokenkeeper.records.replaced",
            unit="{record}",
            description="Records of the store that could not be read, and were replaced.",
        )
        self._clocks = meter.create_counter(
            "tokenkeeper.clocks.disagreements",
            unit="{report}",
            description="Reports that clocks of the fleet differ; one in ten minutes at most.",
        )
        self._outages = meter.create_counter(
            "tokenkeeper.store.outages",
            unit="{outage}",
            description="How often the store became unavailable.",
        )

    def _make_histograms(self, meter: Meter) -> None:
        self._adoption_age = meter.create_histogram(
            "tokenkeeper.adoption.age",
            unit="s",
            description="Age of a token as it was taken over from the store.",
            explicit_bucket_boundaries_advisory=AGE_BUCKETS,
        )
        self._claim_age = meter.create_histogram(
            "tokenkeeper.claim.age",
            unit="s",
            description="Age of a claim as it was taken over, where the store knows it.",
            explicit_bucket_boundaries_advisory=AGE_BUCKETS,
        )
        self._store_duration = meter.create_histogram(
            "tokenkeeper.store.duration",
            unit="s",
            description="Time in store operations for each token that was granted, taken over or "
            "denied.",
            explicit_bucket_boundaries_advisory=STORE_BUCKETS,
        )

    def measure(self, event: TokenEvent, of_provider: dict[str, str]) -> None:
        """Count *event*.

        :param of_provider: the attribute with the provider's name.
        """
        match event:
            case TokenAdopted():
                self._adopted.add(1, of_provider)
                self._adoption_age.record(event.age_seconds, of_provider)
            case ClaimTakenOver():
                self._taken_over.add(1, of_provider)
                if math.isfinite(event.claim_age_seconds):  # the sum would be infinite for ever
                    self._claim_age.record(event.claim_age_seconds, of_provider)
            case RecordReplaced():
                self._replaced.add(1, of_provider)
            case ClocksDisagree():
                self._clocks.add(1, of_provider)
            case StoreUnavailable():
                store = self._stores.of(event.store)
                self._outages.add(1, {STORE: store})
                self._unavailable = {**self._unavailable, store: 1}
            case StoreRecovered():
                self._unavailable = {**self._unavailable, self._stores.of(event.store): 0}
        if isinstance(event, TokenGranted | TokenDenied | TokenAdopted) and event.store_seconds:
            self._store_duration.record(event.store_seconds, of_provider)

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        for store, value in self._unavailable.items():
            if store != OTHER_PROVIDERS:  # no one value fits many stores
                yield Observation(value, {STORE: store})
