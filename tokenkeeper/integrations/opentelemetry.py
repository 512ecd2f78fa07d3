"""OpenTelemetry: a hook that reports tokens as metrics and spans. It needs the API only.

.. code-block:: python

    keeper = TokenKeeper(hooks=[OpenTelemetryHook()])
"""

from __future__ import annotations

import weakref
from datetime import datetime, timedelta

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.arguments import check_clock, check_number
from tokenkeeper._support.escaping import escaped
from tokenkeeper._version import __version__
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.events import (
    AcquisitionFailed,
    ProviderRemoved,
    TokenAcquired,
    TokenDenied,
    TokenEvent,
    TokenGranted,
)
from tokenkeeper.integrations._opentelemetry_metrics import PROVIDER, TokenMetrics
from tokenkeeper.integrations._reasons import reason_of

__all__ = ["OpenTelemetryHook"]

KIND = "tokenkeeper.acquisition.kind"
ERROR_TYPE, OTHER = "error.type", "_OTHER"  # OpenTelemetry's own names


_by_meter_provider: weakref.WeakKeyDictionary[MeterProvider, TokenMetrics]
_by_meter_provider = weakref.WeakKeyDictionary()


class OpenTelemetryHook:
    """Reports events as metrics, and each acquisition as a span. Thread-safe.

    A span is created when an acquisition has ended, with the times at which it started and ended.
    If a caller started it, the caller's span is the parent; a renewal in the background has none.

    :param meter_provider: the provider of the meter; by default the global one.
    :param tracer_provider: the provider of the tracer; by default the global one.
    :param clock: the clock for the remaining lifetime when metrics are read; in tests the keeper's.
    :param max_providers: how many providers have their own attributes in metrics; 1,000 by
        default. Further ones are counted together as ``_other``, without a remaining lifetime.
    :raises InvalidConfigurationError: for a clock or a number that can't be used.

    Hooks with the same meter provider share its metrics, so a module that is imported twice does no
    harm; but give each keeper only one hook. Of several hooks, the clock and the limit of the first
    one count.

    The remaining lifetime of a provider is reported until the provider is removed. Its counters
    stay, because OpenTelemetry has no call that removes them.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        clock: Clock = SYSTEM_CLOCK,
        *,
        max_providers: int = 1000,
    ) -> None:
        check_clock(clock)
        check_number(max_providers, "max_providers", least=0, whole=True)
        self._tracer = trace.get_tracer("tokenkeeper", __version__, tracer_provider)
        with forks_wait():  # also keeps two threads from making them at the same time
            self._metrics = _metrics_of(meter_provider, clock, max_providers)

    def __call__(self, event: TokenEvent, /) -> None:
        """Report *event*."""
        attributes = _attributes_of(event)
        with forks_wait():  # a child would inherit the locks of an SDK's metrics as they are
            if isinstance(event, ProviderRemoved):
                self._metrics.remove(event.provider_name)
                return
            self._metrics.measure(event, attributes)
        if isinstance(event, TokenGranted | TokenDenied):
            self._trace(event, attributes)  # without it: this may export at once, over the network

    def _trace(self, event: TokenGranted | TokenDenied, attributes: dict[str, str]) -> None:
        started_at = event.occurred_at - timedelta(seconds=event.duration_seconds)
        span = self._tracer.start_span(
            f"{attributes[KIND]} token",
            kind=SpanKind.CLIENT,
            attributes={**attributes, "tokenkeeper.acquisition.attempts": event.attempts},
            start_time=_nanoseconds(started_at),
        )
        if isinstance(event, TokenDenied):
            span.set_status(Status(StatusCode.ERROR, escaped(event.reason)))  # it must be UTF-8
        span.end(_nanoseconds(event.occurred_at))


def _metrics_of(
    meter_provider: MeterProvider | None, clock: Clock, max_providers: int
) -> TokenMetrics:
    """Return the metrics of *meter_provider*; new ones if it has none yet.

    There is one set for all hooks, because an SDK ignores the callback of a second gauge with the
    same name.
    """
    provider = metrics.get_meter_provider() if meter_provider is None else meter_provider
    for each, found in _by_meter_provider.items():
        # Before the global provider is set, another one takes its place, and forwards to it later.
        if provider is each or provider is getattr(each, "_real_meter_provider", None):
            return found
    meter = metrics.get_meter("tokenkeeper", __version__, provider)
    created = _by_meter_provider[provider] = TokenMetrics(meter, clock, max_providers)
    return created


def _attributes_of(event: TokenEvent) -> dict[str, str]:
    attributes = {PROVIDER: event.provider_name}
    if isinstance(event, TokenGranted | TokenDenied):
        is_first = isinstance(event, TokenAcquired | AcquisitionFailed)
        attributes[KIND] = "acquire" if is_first else "renew"
    if isinstance(event, TokenDenied):
        attributes[ERROR_TYPE] = reason_of(event, other=OTHER)
    return attributes


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
