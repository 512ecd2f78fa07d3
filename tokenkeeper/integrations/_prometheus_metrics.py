"""The metrics of a Prometheus registry: their names, and the time series of each provider."""

from __future__ import annotations

import math
import os
import weakref
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tokenkeeper.integrations._durations import DURATION_BUCKETS
from tokenkeeper.integrations._provider_labels import OTHER_PROVIDERS, ProviderLabels

__all__ = ["TokenMetrics"]

MULTIPROCESS_VARIABLES = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""The environment variables that turn on the client's multiprocess mode."""


class TokenMetrics:
    """The metrics of all hooks that share a registry. The hooks guard it with ``forks_wait()``.

    :param registry: the registry that the metrics are registered in.
    :param max_providers: how many providers have their own time series.
    :raises ValueError: if the registry has other metrics of these names.
    """

    def __init__(self, registry: CollectorRegistry, max_providers: int) -> None:
        self.labels = ProviderLabels(max_providers)
        self._expiries: dict[str, float] = {}  # by provider; entries are replaced, not changed
        self._kept_in_children: weakref.WeakSet[Any] = weakref.WeakSet()
        self._make_counters(registry)
        self._make_gauges(registry)
        self._all: tuple[Counter | Gauge | Histogram, ...] = (
            *(self.granted, self.failures, self.requests, self.stale, self.cooldowns),
            *(self.refused, self.cleared, self.durations),
            *(self.expiry, self.consecutive_failures, self.last_failure, self.cooldown_end),
        )

    def _make_counters(self, registry: CollectorRegistry) -> None:
        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(name, documentation, ["provider", *labels], registry=registry)

        self.granted = counter(
            "tokenkeeper_tokens_granted_total",
            "Tokens that were granted: the first one (acquired), or a replacement (renewed).",
            "kind",
        )
        self.failures = counter(
            "tokenkeeper_token_failures_total",
            "Acquisitions and renewals that failed, after all retries.",
            "kind",
            "reason",
        )
        self.requests = counter(
            "tokenkeeper_token_requests_total", "Requests to the token endpoint."
        )
        self.stale = counter(
            "tokenkeeper_tokens_served_stale_total",
            "Failed renewals during which callers still got the current token.",
        )
        self.cooldowns = counter(
            "tokenkeeper_cooldowns_total",
            "Cooldowns: periods in which callers get the last error without a token request.",
        )
        self.refused = counter(
            "tokenkeeper_tokens_refused_total", "Tokens that an API refused before they expired."
        )
        self.cleared = counter("tokenkeeper_tokens_cleared_total", "Tokens that were cleared.")
        self.durations = Histogram(
            "tokenkeeper_token_acquisition_duration_seconds",
            "Time from the first token request to the outcome, retries and waits included.",
            ["provider"],
            registry=registry,
            buckets=DURATION_BUCKETS,
        )

    def _make_gauges(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, documentation: str, mode: Literal["livemin", "livemax"]) -> Gauge:
            return Gauge(
                name, documentation, ["provider"], registry=registry, multiprocess_mode=mode
            )

        self.expiry = gauge(
            "tokenkeeper_token_expiry_timestamp_seconds",
            "Expiry of the current token, in seconds since the epoch. In the past while no token "
            "is available, +Inf after a clear.",
            "livemin",  # of several processes the worst counts
        )
        self.consecutive_failures = gauge(
            "tokenkeeper_token_consecutive_failures",
            "Acquisitions and renewals that failed since the last success.",
            "livemax",
        )
        self.last_failure = gauge(
            "tokenkeeper_token_last_failure_timestamp_seconds",
            "Time of the last failed acquisition or renewal, in seconds since the epoch.",
            "livemax",
        )
        self.cooldown_end = gauge(
            "tokenkeeper_cooldown_end_timestamp_seconds",
            "End of the cooldown, in seconds since the epoch. Until then callers get the last "
            "error without a token request.",
            "livemax",
        )

    def label_of(self, provider_name: str) -> str:
        """Return the label of a provider, and start its time series if it is new."""
        is_new = self.labels.is_new(provider_name)
        label = self.labels.of(provider_name)
        if is_new:
            # Without a 0 before it, the first increase of a counter goes unnoticed.
            for kind in ("acquired", "renewed"):
                self.granted.labels(label, kind)
            for rare in (self.stale, self.cooldowns, self.refused, self.cleared):
                rare.labels(label)
        return label

    def remove(self, provider_name: str) -> None:
        """Remove the time series of a provider."""
        if self.labels.is_new(provider_name) or self.labels.of(provider_name) == OTHER_PROVIDERS:
            return
        self.reset(provider_name)
        self.labels.forget(provider_name)
        self._expiries.pop(provider_name, None)
        if any(name in os.environ for name in MULTIPROCESS_VARIABLES):
            return  # the client can't remove anything in this mode, and warns
        for metric in self._all:
            for family in list(metric.collect()):
                for sample in family.samples:
                    if sample.labels.get("provider") == provider_name:
                        labels = (value for key, value in sample.labels.items() if key != "le")
                        metric.remove(*labels)

    def reset(self, provider: str) -> None:
        """Set the gauges of a provider to values that mean that nothing is wrong."""
        # In the multiprocess mode a label can't be removed, and a NaN would stay the minimum.
        self.set_expiry(provider, math.inf)
        self.set_gauge(self.consecutive_failures, provider, 0)
        self.set_gauge(self.cooldown_end, provider, 0)

    def set_expired(self, provider: str, now: float) -> None:
        """Set the expiry of a provider to *now*, unless it is earlier already."""
        self.set_expiry(provider, min(now, self._expiries.get(provider, now)))

    def set_expiry(self, provider: str, expiry: float) -> None:
        """Set the expiry of a provider's current token, in seconds since the epoch."""
        self._expiries[provider] = expiry
        self.set_gauge(self.expiry, provider, expiry)
        if provider != OTHER_PROVIDERS:
            self._keep_in_children(self.expiry.labels(provider), provider)

    @staticmethod
    def set_gauge(gauge: Gauge, provider: str, value: float) -> None:
        """Set *gauge*, unless the label stands for many providers: no one value fits them all."""
        if provider != OTHER_PROVIDERS:
            gauge.labels(provider).set(value)

    def _keep_in_children(self, gauge: Gauge, provider: str) -> None:
        """Keep the value of an expiry in forked children, in the multiprocess mode.

        In a child the client sets all values to 0 when any metric first changes. An expiry of 0
        means "expired long ago", and of several processes the worst counts.
        """
        value: Any = getattr(gauge, "_value", None)
        reset = getattr(value, "_MmapedValue__reset", None)
        if reset is None or value in self._kept_in_children:
            return

        def reset_to_expiry() -> None:
            reset()
            if provider in self._expiries:
                value._value = self._expiries[provider]  # noqa: SLF001 - there is no public way
                value._file.write_value(value._key, value._value, 0.0)  # noqa: SLF001

        self._kept_in_children.add(value)
        value._MmapedValue__reset = reset_to_expiry  # noqa: SLF001
