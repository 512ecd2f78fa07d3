"""``prometheus_client``: a hook that counts what happens to tokens, for a ``/metrics`` page.

.. code-block:: python

    keeper = TokenKeeper(hooks=[PrometheusHook()])

The metrics come from events alone. So one hook serves any number of keepers, and the client's
multiprocess mode (``PROMETHEUS_MULTIPROC_DIR``) works as for any other metric.
"""

from __future__ import annotations

import weakref

from prometheus_client import REGISTRY, CollectorRegistry

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.arguments import check_instance, check_number
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    ProviderRemoved,
    ServedStale,
    TokenAcquired,
    TokenAdopted,
    TokenCleared,
    TokenDenied,
    TokenEvent,
    TokenGranted,
    TokenRefused,
)
from tokenkeeper.integrations._prometheus_metrics import TokenMetrics
from tokenkeeper.integrations._reasons import reason_of

__all__ = ["PrometheusHook"]

_by_registry: weakref.WeakKeyDictionary[CollectorRegistry, TokenMetrics]
_by_registry = weakref.WeakKeyDictionary()


class PrometheusHook:
    """Counts events as metrics whose names begin with ``tokenkeeper_``. Thread-safe.

    Each metric has the label ``provider``; those of a store itself have ``store`` instead, its URL
    without a secret. Hooks with the same registry share its metrics, so a module that is imported
    twice does no harm; but give each keeper only one hook. Removing a provider removes its time
    series. The client's multiprocess mode can't remove any: there the gauges are set to values that
    mean that nothing is wrong. In that mode a forked child shows the expiry of the tokens that it
    inherited.

    :param registry: where the metrics are registered; by default the client's global registry.
    :param max_providers: how many providers have their own time series; 1,000 by default.
        Further ones are counted together as ``_other``, without gauges. If several hooks have the
        same registry, the limit of the first one counts.
    :raises InvalidConfigurationError: for an argument of the wrong type, or a negative number.
    :raises ValueError: if the registry has other metrics of these names.
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, max_providers: int = 1000
    ) -> None:
        check_instance(registry, CollectorRegistry, "registry")
        check_number(max_providers, "max_providers", least=0, whole=True)
        with forks_wait():  # also keeps two threads from making them at the same time
            metrics = _by_registry.get(registry)
            if metrics is None:
                metrics = _by_registry[registry] = TokenMetrics(registry, max_providers)
        self._metrics = metrics

    def __call__(self, event: TokenEvent, /) -> None:
        """Count *event*."""
        with forks_wait():  # a child would inherit the client's locks as they are
            if isinstance(event, ProviderRemoved):
                self._metrics.remove(event.provider_name)
            else:
                self._count(event)

    def _count(self, event: TokenEvent) -> None:
        metrics = self._metrics
        now, token_name = event.occurred_at.timestamp(), event.token_name
        provider = metrics.label_of(event.provider_name)
        match event:
            case TokenGranted():
                kind = "acquired" if isinstance(event, TokenAcquired) else "renewed"
                metrics.granted.labels(provider, kind).inc()
                self._count_requests(event, provider)
                metrics.succeeded(provider, token_name, now + event.remaining_seconds)
            case TokenDenied():
                kind = "acquisition" if isinstance(event, AcquisitionFailed) else "renewal"
                metrics.count_failure(provider, kind, reason_of(event))
                self._count_requests(event, provider)
                has_token = bool(event.remaining_seconds)
                metrics.failed(provider, token_name, now, has_token=has_token)
            case TokenAdopted():
                metrics.requests.labels(provider).inc(event.attempts)
                metrics.succeeded(provider, token_name, now + event.remaining_seconds)
            case ServedStale():
                metrics.stale.labels(provider).inc()
            case CooledDown():
                metrics.cooldowns.labels(provider).inc()
                metrics.cooled_down(provider, token_name, now + event.cooldown_seconds)
            case TokenRefused():
                metrics.refused.labels(provider).inc()
            case TokenCleared():
                metrics.cleared.labels(provider).inc()
                metrics.forget(provider, token_name)
        metrics.fleet.count(event, provider)
        is_known = metrics.knows(provider, token_name)
        metrics.sign_ins.count(event, provider, is_known=is_known)

    def _count_requests(self, event: TokenGranted | TokenDenied, provider: str) -> None:
        self._metrics.requests.labels(provider).inc(event.attempts)
        self._metrics.durations.labels(provider).observe(event.duration_seconds)
