"""``prometheus_client``: a hook that counts what happens to tokens, for a ``/metrics`` page.

.. code-block:: python

    keeper = TokenKeeper(hooks=[PrometheusHook()])

It goes by events alone and asks no keeper anything. One hook therefore serves any number of
keepers, and the client's multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``) works as it does for
every other metric.
"""

from __future__ import annotations

import math
import os
import weakref
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    ProviderRemoved,
    ServedStale,
    TokenAcquired,
    TokenCleared,
    TokenDenied,
    TokenEvent,
    TokenGranted,
    TokenRefused,
)
from tokenkeeper.integrations._durations import DURATION_BUCKETS
from tokenkeeper.integrations._provider_labels import OTHER_PROVIDERS, ProviderLabels
from tokenkeeper.integrations._reasons import reason_of

__all__ = ["PrometheusHook"]

MULTIPROCESS_VARIABLES = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""What switches the client's multiprocess mode on."""


_shared_by_registry: weakref.WeakKeyDictionary[CollectorRegistry, dict[str, Any]]
_shared_by_registry = weakref.WeakKeyDictionary()


class PrometheusHook:
    """Counts events as metrics whose names begin with ``tokenkeeper_``. Thread-safe.

    Each metric has the label ``provider``. Hooks with the same registry share its metrics, so a
    module that is imported twice does no harm; but give a keeper one of them. The time series of a
    provider are removed with it; in the client's multiprocess mode, which can't remove any, its
    gauges say that nothing is wrong. In that mode a forked child shows when the tokens expire that
    it inherited.

    :param registry: where the metrics are registered; the client's own by default.
    :param max_providers: how many providers have time series of their own, 1,000 by default.
        Further ones are counted together as ``_other``, and have no gauges. Of several hooks
        with the same registry the first one's number counts.
    :raises ValueError: if the registry has metrics of these names that no hook made.
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, max_providers: int = 1000
    ) -> None:
        with forks_wait():  # also so that two threads do not make them at once
            shared = _shared_by_registry.get(registry)
            if shared is None:
                self._make(registry, max_providers)
                _shared_by_registry[registry] = self.__dict__
            else:
                self.__dict__ = shared

    def _make(self, registry: CollectorRegistry, max_providers: int) -> None:
        self._ends: dict[str, float] = {}  # what the gauge says; entries are replaced, no more
        self._labels = ProviderLabels(max_providers)
        self._kept_in_children: weakref.WeakSet[Any] = weakref.WeakSet()

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(name, documentation, ["provider", *labels], registry=registry)

        def gauge(name: str, documentation: str, mode: str) -> Gauge:
            return Gauge(
                name,
                documentation,
                ["provider"],
                registry=registry,
                multiprocess_mode=mode,  # type: ignore[arg-type] # one of the client's literals
            )

        self._granted = counter(
            "tokenkeeper_tokens_granted_total",
            "Tokens that came, as the first one (acquired) or in the place of another (renewed).",
            "kind",
        )
        self._failures = counter(
            "tokenkeeper_token_failures_total",
            "Acquisitions and renewals that failed, all retries included.",
            "kind",
            "reason",
        )
        self._requests = counter(
            "tokenkeeper_token_requests_total", "Requests to the token endpoint."
        )
        self._stale = counter(
            "tokenkeeper_tokens_served_stale_total",
            "Renewals that failed while callers went on with the token at hand.",
        )
        self._cooldowns = counter(
            "tokenkeeper_cooldowns_total",
            "Times that callers began to get the last error without a request of their own.",
        )
        self._refused = counter(
            "tokenkeeper_tokens_refused_total", "Tokens that an API refused before their end."
        )
        self._cleared = counter("tokenkeeper_tokens_cleared_total", "Tokens that were forgotten.")
        self._durations = Histogram(
            "tokenkeeper_token_acquisition_duration_seconds",
            "Time from the first request to the outcome, retries and their waits included.",
            ["provider"],
            registry=registry,
            buckets=DURATION_BUCKETS,
        )
        self._expiry = gauge(
            "tokenkeeper_token_expiry_timestamp_seconds",
            "When the token at hand ends, since the epoch: in the past while none can be had, and "
            "+Inf after a clear.",
            "livemin",  # of several processes the worst counts
        )
        self._failing = gauge(
            "tokenkeeper_token_consecutive_failures",
            "Acquisitions and renewals that failed since the last that worked.",
            "livemax",
        )
        self._last_failure = gauge(
            "tokenkeeper_token_last_failure_timestamp_seconds",
            "When the last acquisition or renewal failed, since the epoch.",
            "livemax",
        )
        self._cooldown_end = gauge(
            "tokenkeeper_cooldown_end_timestamp_seconds",
            "Until when callers get the last error without a request, since the epoch.",
            "livemax",
        )
        self._metrics: tuple[Counter | Gauge | Histogram, ...] = (
            self._granted,
            self._failures,
            self._requests,
            self._stale,
            self._cooldowns,
            self._refused,
            self._cleared,
            self._durations,
            self._expiry,
            self._failing,
            self._last_failure,
            self._cooldown_end,
        )

    def __call__(self, event: TokenEvent, /) -> None:
        """Count *event*."""
        with forks_wait():  # the client's locks are not made anew in a child
            self._count(event)

    def _count(self, event: TokenEvent) -> None:
        if isinstance(event, ProviderRemoved):
            self._end(event.provider_name)
            return
        now = event.occurred_at.timestamp()
        is_new = self._labels.is_new(event.provider_name)
        provider = self._labels.of(event.provider_name)
        if is_new:
            self._begin(provider)
        match event:
            case TokenGranted():
                kind = "acquired" if isinstance(event, TokenAcquired) else "renewed"
                self._granted.labels(provider, kind).inc()
                self._requests.labels(provider).inc(event.attempts)
                self._durations.labels(provider).observe(event.duration_seconds)
                self._set_end(provider, now + event.remaining_seconds)
                self._set(self._failing, provider, 0)
                self._set(self._cooldown_end, provider, 0)
            case TokenDenied():
                kind = "acquisition" if isinstance(event, AcquisitionFailed) else "renewal"
                self._failures.labels(provider, kind, reason_of(event)).inc()
                self._requests.labels(provider).inc(event.attempts)
                self._durations.labels(provider).observe(event.duration_seconds)
                if provider != OTHER_PROVIDERS:
                    self._failing.labels(provider).inc()
                self._set(self._last_failure, provider, now)
                if not event.remaining_seconds:
                    # None was there, or an API refused it: the end that it had does not count.
                    self._set_end(provider, min(now, self._ends.get(provider, now)))
            case ServedStale():
                self._stale.labels(provider).inc()
            case CooledDown():
                self._cooldowns.labels(provider).inc()
                self._set(self._cooldown_end, provider, now + event.cooldown_seconds)
            case TokenRefused():
                self._refused.labels(provider).inc()
            case TokenCleared():
                self._cleared.labels(provider).inc()
                self._reset(provider)

    def _begin(self, provider: str) -> None:
        # A counter that is not there before its first event seems not to have increased by it.
        for kind in ("acquired", "renewed"):
            self._granted.labels(provider, kind)
        for rare in (self._stale, self._cooldowns, self._refused, self._cleared):
            rare.labels(provider)

    def _end(self, provider: str) -> None:
        """Remove what there is of *provider*."""
        if self._labels.is_new(provider) or self._labels.of(provider) == OTHER_PROVIDERS:
            return
        self._reset(provider)
        self._labels.forget(provider)
        self._ends.pop(provider, None)
        if any(name in os.environ for name in MULTIPROCESS_VARIABLES):
            return  # the client can't remove anything there, and warns
        for metric in self._metrics:
            for family in list(metric.collect()):
                for sample in family.samples:
                    if sample.labels.get("provider") == provider:
                        labels = (value for key, value in sample.labels.items() if key != "le")
                        metric.remove(*labels)

    def _reset(self, provider: str) -> None:
        # Removing a label does not work in the multiprocess mode, and a NaN sticks there.
        self._set_end(provider, math.inf)
        self._set(self._failing, provider, 0)
        self._set(self._cooldown_end, provider, 0)

    def _set_end(self, provider: str, end: float) -> None:
        self._ends[provider] = end
        self._set(self._expiry, provider, end)
        if provider != OTHER_PROVIDERS:
            self._keep_in_children(self._expiry.labels(provider), provider)

    def _keep_in_children(self, gauge: Gauge, provider: str) -> None:
        """Have *gauge* show in a forked child what it shows here, in the multiprocess mode.

        There the client begins all values anew at the first change of any metric, with 0. For an
        expiry that means "long ago", and of several processes the worst counts.
        """
        value: Any = getattr(gauge, "_value", None)
        begin = getattr(value, "_MmapedValue__reset", None)
        if begin is None or value in self._kept_in_children:
            return

        def begin_with_the_end() -> None:
            begin()
            if provider in self._ends:
                value._value = self._ends[provider]  # noqa: SLF001 - nothing public does that
                value._file.write_value(value._key, value._value, 0.0)  # noqa: SLF001

        self._kept_in_children.add(value)
        value._MmapedValue__reset = begin_with_the_end  # noqa: SLF001

    @staticmethod
    def _set(gauge: Gauge, provider: str, value: float) -> None:
        if provider != OTHER_PROVIDERS:  # no one value is true of many providers
            gauge.labels(provider).set(value)
