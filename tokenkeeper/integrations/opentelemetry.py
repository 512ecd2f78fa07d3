"""OpenTelemetry: a hook that reports tokens as metrics and spans. It needs the API only.

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
from tokenkeeper._support.arguments import check_clock, check_number
from tokenkeeper._support.escaping import escaped
from tokenkeeper._version import __version__
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
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
from tokenkeeper.integrations._durations import DURATION_BUCKETS
from tokenkeeper.integrations._opentelemetry_fleet import FleetMetrics
from tokenkeeper.integrations._opentelemetry_sign_ins import SignInMetrics
from tokenkeeper.integrations._provider_labels import OTHER_PROVIDERS, ProviderLabels
from tokenkeeper.integrations._reasons import reason_of
from tokenkeeper.integrations._worst_values import WorstValues
from tokenkeeper.names import is_chosen

__all__ = ["OpenTelemetryHook"]

PROVIDER = "tokenkeeper.provider.name"
KIND = "tokenkeeper.acquisition.kind"
ERROR_TYPE, OTHER = "error.type", "_OTHER"  # OpenTelemetry's own names


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
        self._clock = clock
        self._labels = ProviderLabels(max_providers)
        self._expiries = WorstValues(min)  # Unix times
        self._tracer = trace.get_tracer("tokenkeeper", __version__, tracer_provider)
        meter = metrics.get_meter("tokenkeeper", __version__, meter_provider)
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

    def _make_counters(self, meter: metrics.Meter) -> None:
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

    def __call__(self, event: TokenEvent, /) -> None:
        """Report *event*."""
        attributes = _attributes_of(event)
        with forks_wait():  # a child would inherit the locks of an SDK's metrics as they are
            if isinstance(event, ProviderRemoved):
                self._remove(event.provider_name)
                return
            label = self._labels.of(event.provider_name)
            self._measure(event, {**attributes, PROVIDER: label})
        if isinstance(event, TokenGranted | TokenDenied):
            self._trace(event, attributes)  # without it: this may export at once, over the network

    def _remove(self, provider_name: str) -> None:
        self._labels.forget(provider_name)
        self._expiries.drop_provider(provider_name)
        self._sign_ins.remove(provider_name)

    def _measure(self, event: TokenEvent, attributes: dict[str, str]) -> None:
        name, token_name = event.provider_name, event.token_name
        now = event.occurred_at.timestamp()
        label = attributes[PROVIDER]
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

    def _observe(self, _: CallbackOptions) -> Iterable[Observation]:
        now = self._clock.time()
        for name, expires_at in self._expiries.all():
            yield Observation(expires_at - now, {PROVIDER: name})


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
