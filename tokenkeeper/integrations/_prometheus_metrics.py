"""The metrics of a Prometheus registry: their names, and the time series of each provider."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterable
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tokenkeeper.integrations._durations import DURATION_BUCKETS
from tokenkeeper.integrations._prometheus_fleet import FleetMetrics
from tokenkeeper.integrations._prometheus_sign_ins import OUTCOMES, SignInMetrics
from tokenkeeper.integrations._provider_labels import OTHER_PROVIDERS, ProviderLabels
from tokenkeeper.integrations._worst_values import WorstValues
from tokenkeeper.names import is_chosen

__all__ = ["TokenMetrics"]

MULTIPROCESS_VARIABLES = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""The environment variables that turn on the client's multiprocess mode."""

KINDS = ("acquired", "renewed")
"""The values of the label ``kind`` of granted tokens."""


class TokenMetrics:
    """The metrics of all hooks that share a registry. The hooks guard it with ``forks_wait()``.

    :param registry: the registry that the metrics are registered in.
    :param max_providers: how many providers have their own time series.
    :raises ValueError: if the registry has other metrics of these names.
    """

    def __init__(self, registry: CollectorRegistry, max_providers: int) -> None:
        self.labels = ProviderLabels(max_providers)
        self.fleet = FleetMetrics(max_providers)
        self.sign_ins = SignInMetrics()
        self._expiries = WorstValues(min)
        self._failures = WorstValues(max)
        self._cooldown_ends = WorstValues(max)
        self._kept_in_children: weakref.WeakSet[Any] = weakref.WeakSet()
        self._make_counters()
        self._make_gauges()
        self._labelled_by_provider_alone: tuple[Counter | Gauge | Histogram, ...] = (
            *(self.requests, self.stale, self.cooldowns, self.refused, self.cleared),
            *(self.durations, self.expiry, self.consecutive_failures, self.last_failure),
            *(self.cooldown_end, *self.fleet.of_provider, self.sign_ins.needed),
        )
        self._reasons: set[tuple[str, str]] = set()  # the other labels of failures so far
        further = (self.granted, self.failures, self.sign_ins.ended, *self.fleet.of_store)
        _register((*self._labelled_by_provider_alone, *further), registry)

    def _make_counters(self) -> None:
        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(name, documentation, ["provider", *labels], registry=None)

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
            registry=None,
            buckets=DURATION_BUCKETS,
        )

    def _make_gauges(self) -> None:
        def gauge(name: str, documentation: str, mode: Literal["livemin", "livemax"]) -> Gauge:
            return Gauge(name, documentation, ["provider"], registry=None, multiprocess_mode=mode)

        self.expiry = gauge(
            "tokenkeeper_token_expiry_timestamp_seconds",
            "Expiry of the current token, of several the earliest, in seconds since the epoch. In "
            "the past while no token is available, +Inf after a clear.",
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
            for kind in KINDS:
                self.granted.labels(label, kind)
            for rare in (self.stale, self.cooldowns, self.refused, self.cleared):
                rare.labels(label)
            self.fleet.start(label)
        return label

    def remove(self, provider_name: str) -> None:
        """Remove the time series of a provider."""
        if self.labels.is_new(provider_name) or self.labels.of(provider_name) == OTHER_PROVIDERS:
            return
        for values in (self._expiries, self._failures, self._cooldown_ends):
            values.drop_provider(provider_name)
        self._show(provider_name)
        self.sign_ins.remove(provider_name)
        self.labels.forget(provider_name)
        if any(name in os.environ for name in MULTIPROCESS_VARIABLES):
            return  # the client can't remove anything in this mode, and warns
        for metric in self._labelled_by_provider_alone:
            metric.remove(provider_name)
        for kind in KINDS:
            self.granted.remove(provider_name, kind)
        for kind, reason in self._reasons:
            self.failures.remove(provider_name, kind, reason)
        for outcome in OUTCOMES:
            self.sign_ins.ended.remove(provider_name, outcome)

    def count_failure(self, provider: str, kind: str, reason: str) -> None:
        """Count a failure."""
        self._reasons.add((kind, reason))
        self.failures.labels(provider, kind, reason).inc()

    def knows(self, provider: str, token_name: str) -> bool:
        """Return whether a token counts in the gauges: another event will forget it.

        It is the provider's own, or was granted, so that it is cleared. None of the tokens of
        providers beyond the limit counts: no one value fits them all.
        """
        if provider == OTHER_PROVIDERS:
            return False
        return not is_chosen(token_name) or self._expiries.get(provider, token_name) is not None

    def succeeded(self, provider: str, token_name: str, expiry: float) -> None:
        """Note that a token was granted, and its expiry in seconds since the epoch."""
        if provider == OTHER_PROVIDERS:
            return
        self._expiries.set(provider, token_name, expiry)
        self._failures.drop(provider, token_name)
        self._cooldown_ends.drop(provider, token_name)
        self._show(provider)

    def failed(self, provider: str, token_name: str, now: float, *, has_token: bool) -> None:
        """Note that no token was granted.

        A token that a caller chose counts from its first grant on: no other call will forget it.
        """
        self.set_gauge(self.last_failure, provider, now)
        if not self.knows(provider, token_name):
            return
        expiry = self._expiries.get(provider, token_name)
        failures = self._failures.get(provider, token_name) or 0
        self._failures.set(provider, token_name, failures + 1)
        if not has_token:
            # There is no token, or an API refused it: its own expiry does not count.
            self._expiries.set(provider, token_name, now if expiry is None else min(now, expiry))
        self._show(provider)

    def cooled_down(self, provider: str, token_name: str, until: float) -> None:
        """Note that no token is requested *until* then."""
        if self.knows(provider, token_name):
            self._cooldown_ends.set(provider, token_name, until)
            self._show(provider)

    def forget(self, provider: str, token_name: str) -> None:
        """Note that a token was cleared."""
        for values in (self._expiries, self._failures, self._cooldown_ends):
            values.drop(provider, token_name)
        self._show(provider)

    def _show(self, provider: str) -> None:
        """Set the gauges of a provider. Without a token, their values mean that nothing is wrong.

        In the multiprocess mode a label can't be removed, and a NaN would stay the minimum.
        """
        self.set_gauge(self.expiry, provider, self._shown_expiry(provider))
        self.set_gauge(self.consecutive_failures, provider, self._failures.of(provider) or 0)
        self.set_gauge(self.cooldown_end, provider, self._cooldown_ends.of(provider) or 0)
        if provider != OTHER_PROVIDERS:
            self._keep_in_children(self.expiry.labels(provider), provider)

    def _shown_expiry(self, provider: str) -> float:
        """Return the value of a provider's expiry: infinite without a token."""
        expiry = self._expiries.of(provider)
        return math.inf if expiry is None else expiry

    @staticmethod
    def set_gauge(gauge: Gauge, provider: str, value: float) -> None:
        """Set *gauge*, unless the label stands for many providers: no one value fits them all."""
        if provider != OTHER_PROVIDERS:
            gauge.labels(provider).set(value)

    def _keep_in_children(self, gauge: Gauge, provider: str) -> None:
        """Keep the value of an expiry in forked children, in the multiprocess mode.

        In a child the client sets all values to 0 when any metric first changes. An expiry of 0
        means "expired long ago", and of several processes the worst counts. Without a token, as
        after a clear, it is infinite in the child too.
        """
        value: Any = getattr(gauge, "_value", None)
        reset = getattr(value, "_MmapedValue__reset", None)
        if reset is None or value in self._kept_in_children:
            return

        def reset_to_expiry() -> None:
            reset()
            value._value = self._shown_expiry(provider)  # noqa: SLF001 - there is no public way
            value._file.write_value(value._key, value._value, 0.0)  # noqa: SLF001

        self._kept_in_children.add(value)
        value._MmapedValue__reset = reset_to_expiry  # noqa: SLF001


def _register(metrics: Iterable[Counter | Gauge | Histogram], registry: CollectorRegistry) -> None:
    """Register *metrics*, all or none: after an error the caller can try again.

    :raises ValueError: if the registry has other metrics of these names.
    """
    registered = []
    try:
        for metric in metrics:
            registry.register(metric)
            registered.append(metric)
    except ValueError:
        for metric in registered:
            registry.unregister(metric)
        raise
