"""OpenTelemetry: a hook that reports tokens as metrics and spans. It needs the API alone.

.. code-block:: python

    keeper = TokenKeeper(hooks=[OpenTelemetryHook()])
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._version import __version__
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
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

__all__ = ["OpenTelemetryHook"]

PROVIDER = "tokenkeeper.provider.name"
KIND = "tokenkeeper.acquisition.kind"
ERROR_TYPE, OTHER = "error.type", "_OTHER"  # OpenTelemetry's own names for it


class OpenTelemetryHook:
    """Reports events as metrics, and each acquisition as a span. Thread-safe.

    Spans are made when it is known how an acquisition ended, with the times of its begin and its
    end. Where a caller began it, the caller's span is the parent; a renewal in the background has
    none.

    :param meter_provider: where metrics go; the global one by default.
    :param tracer_provider: where spans go; the global one by default.
    :param clock: what the remaining lifetime is reckoned by when metrics are read.
    :param max_providers: how many providers have attributes of their own in metrics, 1,000 by
        default. Further ones are counted together as ``_other``, without a remaining lifetime.

    The remaining lifetime of a provider is no longer reported once it is removed. What was counted
    stays, because OpenTelemetry has no call that removes it.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        tracer_provider: TracerProvider | None = None,
        clock: Clock = SYSTEM_CLOCK,
        *,
        max_providers: int = 1000,
    ) -> None:
        self._clock = clock
        self._labels = ProviderLabels(max_providers)
        self._ends: dict[str, float] = {}  # on the wall clock; entries are replaced, no more
        self._tracer = trace.get_tracer("tokenkeeper", __version__, tracer_provider)
        meter = metrics.get_meter("tokenkeeper", __version__, meter_provider)
        self._durations = meter.create_histogram(
            "tokenkeeper.acquisition.duration",
            unit="s",
            description="From the first token request to the outcome, retries included.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,  # an SDK's own are milliseconds
        )
        self._requests = meter.create_counter(
            "tokenkeeper.token.requests", unit="{request}", description="Token requests."
        )
        self._stale = meter.create_counter(
            "tokenkeeper.token.served_stale",
            unit="{renewal}",
            description="Renewals that failed while callers went on with the token at hand.",
        )
        self._cooldowns = meter.create_counter(
            "tokenkeeper.cooldowns",
            unit="{cooldown}",
            description="Times that callers began to get the last error without a request.",
        )
        self._refused = meter.create_counter(
            "tokenkeeper.token.refused",
            unit="{token}",
            description="Tokens that an API refused before their end.",
        )
        self._cleared = meter.create_counter(
            "tokenkeeper.token.cleared", unit="{token}", description="Tokens that were forgotten."
        )
        meter.create_observable_gauge(
            "tokenkeeper.token.remaining_lifetime",
            [self._observe],
            unit="s",
            description="How long the token at hand still lives; below 0 after its end.",
        )

    def __call__(self, event: TokenEvent, /) -> None:
        """Report *event*."""
        if isinstance(event, ProviderRemoved):
            self._labels.forget(event.provider_name)
            self._ends.pop(event.provider_name, None)
            return
        attributes = _attributes_of(event)
        with forks_wait():  # an SDK's locks of metrics are not made anew in a child
            label = self._labels.of(event.provider_name)
            self._measure(event, {**attributes, PROVIDER: label})
        if isinstance(event, TokenGranted | TokenDenied):
            self._trace(event, attributes)  # not so: it may export at once, over the network

    def _measure(self, event: TokenEvent, attributes: dict[str, str]) -> None:
        name, now = event.provider_name, event.occurred_at.timestamp()
        label = attributes[PROVIDER]
        match event:
            case TokenGranted():
                if label != OTHER_PROVIDERS:
                    self._ends[name] = now + event.remaining_seconds
            case TokenDenied():
                if name in self._ends and not event.remaining_seconds:
                    # An API refused it perhaps: the end that it had does not count.
                    self._ends[name] = min(now, self._ends[name])
            case ServedStale():
                self._stale.add(1, attributes)
            case CooledDown():
                self._cooldowns.add(1, attributes)
            case TokenRefused():
                self._refused.add(1, attributes)
            case TokenCleared():
                self._ends.pop(name, None)
                self._cleared.add(1, attributes)
        if isinstance(event, TokenGranted | TokenDenied):
            self._requests.add(event.attempts, {PROVIDER: label})
            self._durations.record(event.duration_seconds, attributes)

    def _trace(self, event: TokenGranted | TokenDenied, attributes: dict[str, str]) -> None:
        began = event.occurred_at - timedelta(seconds=event.duration_seconds)
        span = self._tracer.start_span(
            f"{attributes[KIND]} token",
            kind=SpanKind.CLIENT,
            attributes={**attributes, "tokenkeeper.acquisition.attempts": event.attempts},
            start_time=_nanoseconds(began),
        )
        if isinstance(event, TokenDenied):
            span.set_status(Status(StatusCode.ERROR, event.reason))
        span.end(_nanoseconds(event.occurred_at))

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        now = self._clock.time()
        for name, ends_at in list(self._ends.items()):
            yield Observation(ends_at - now, {PROVIDER: name})


def _attributes_of(event: TokenEvent) -> dict[str, str]:
    attributes = {PROVIDER: event.provider_name}
    if isinstance(event, TokenGranted | TokenDenied):
        first = isinstance(event, TokenAcquired | AcquisitionFailed)
        attributes[KIND] = "acquire" if first else "renew"
    if isinstance(event, TokenDenied):
        attributes[ERROR_TYPE] = reason_of(event, other=OTHER)
    return attributes


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
