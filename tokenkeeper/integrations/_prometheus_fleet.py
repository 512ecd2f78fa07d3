"""The Prometheus metrics of keepers that share a store."""

from __future__ import annotations

import math

from prometheus_client import Counter, Gauge, Histogram

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


class FleetMetrics:
    """What happens in a fleet, as metrics. The hooks guard it with ``forks_wait()``.

    :param max_stores: how many stores have their own time series.
    :ivar of_provider: the metrics with the label ``provider``.
    :ivar of_store: the metrics with the label ``store``.
    """

    def __init__(self, max_stores: int) -> None:
        self._stores = ProviderLabels(max_stores)
        self._make_counters()
        self._make_histograms()
        self._clocks = Gauge(
            "tokenkeeper_clocks_disagree_timestamp_seconds",
            "Time at which clocks of the fleet were last seen to differ, in seconds since the "
            "epoch.",
            ["provider"],
            registry=None,
            multiprocess_mode="livemax",
        )
        self._unavailable = Gauge(
            "tokenkeeper_store_unavailable",
            "1 while the store can't be used, 0 once it can again.",
            ["store"],
            registry=None,
            multiprocess_mode="livemax",  # of several processes the worst counts
        )
        self.of_provider: tuple[Counter | Gauge | Histogram, ...] = (
            *(self._adopted, self._taken_over, self._replaced),
            *(self._adoption_age, self._claim_age, self._store_seconds, self._clocks),
        )
        self.of_store: tuple[Counter | Gauge, ...] = (self._outages, self._unavailable)

    def _make_counters(self) -> None:
        self._adopted = Counter(
            "tokenkeeper_tokens_adopted_total",
            "Tokens that another process requested, taken over from the store.",
            ["provider"],
            registry=None,
        )
        self._taken_over = Counter(
            "tokenkeeper_claims_taken_over_total",
            "Token requests that another process claimed and did not finish.",
            ["provider"],
            registry=None,
        )
        self._replaced = Counter(
            "tokenkeeper_records_replaced_total",
            "Records of the store that could not be read, and were replaced.",
            ["provider"],
            registry=None,
        )
        self._outages = Counter(
            "tokenkeeper_store_outages_total",
            "How often the store became unavailable.",
            ["store"],
            registry=None,
        )

    def _make_histograms(self) -> None:
        def histogram(name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, documentation, ["provider"], registry=None, buckets=buckets)

        self._adoption_age = histogram(
            "tokenkeeper_token_adoption_age_seconds",
            "Age of a token as it was taken over from the store.",
            AGE_BUCKETS,
        )
        self._claim_age = histogram(
            "tokenkeeper_claim_age_seconds",
            "Age of a claim as it was taken over, where the store knows it.",
            AGE_BUCKETS,
        )
        self._store_seconds = histogram(
            "tokenkeeper_store_seconds",
            "Time in store operations for each token that was granted, taken over or denied.",
            STORE_BUCKETS,
        )

    def start(self, provider: str) -> None:
        """Start the counters of a provider at 0."""
        for each in (self._adopted, self._taken_over, self._replaced):
            each.labels(provider)

    def count(self, event: TokenEvent, provider: str) -> None:
        """Count *event*, which is about the provider with the label *provider*."""
        match event:
            case TokenAdopted():
                self._adopted.labels(provider).inc()
                self._adoption_age.labels(provider).observe(event.age_seconds)
            case ClaimTakenOver():
                self._taken_over.labels(provider).inc()
                if math.isfinite(event.claim_age_seconds):  # the sum would be infinite for ever
                    self._claim_age.labels(provider).observe(event.claim_age_seconds)
            case RecordReplaced():
                self._replaced.labels(provider).inc()
            case ClocksDisagree():
                if provider != OTHER_PROVIDERS:
                    self._clocks.labels(provider).set(event.occurred_at.timestamp())
            case StoreUnavailable():
                store = self._stores.of(event.store)
                self._outages.labels(store).inc()
                self._show(store, 1)
            case StoreRecovered():
                self._show(self._stores.of(event.store), 0)
        if isinstance(event, TokenGranted | TokenDenied | TokenAdopted) and event.store_seconds:
            self._store_seconds.labels(provider).observe(event.store_seconds)

    def _show(self, store: str, value: float) -> None:
        if store != OTHER_PROVIDERS:  # no one value fits many stores
            self._unavailable.labels(store).set(value)
