"""Metrics and spans, as the OpenTelemetry SDK gets them."""

import os
import subprocess
import sys
import textwrap
import types
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from integrations.fleet_story import FleetStory
from integrations.network_failures import NETWORK_FAILURES
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tokenkeeper import (
    InvalidConfigurationError,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.events import (
    AcquisitionFailed,
    ClaimTakenOver,
    CooledDown,
    ProviderRemoved,
    SignInCompleted,
    SignInFailed,
    SignInStarted,
    TokenAcquired,
)
from tokenkeeper.integrations.opentelemetry import OpenTelemetryHook
from tokenkeeper.testing import EventRecorder, MockProvider, SteppedClock

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Signals:
    """A hook with an SDK that keeps metrics and spans in memory."""

    def __init__(self, clock):
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self.reader])
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.hook = OpenTelemetryHook(self.meters, self.tracers, clock, max_providers=3)

    def data_points(self, name):
        """Return the SDK's data points of a metric."""
        data = self.reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == f"tokenkeeper.{name}"
            for point in metric.data.data_points
        ]

    def points(self, name):
        """Return the metric's value for each set of attributes."""
        return {
            tuple(sorted(dict(point.attributes).values())): getattr(
                point, "value", getattr(point, "count", None)
            )
            for point in self.data_points(name)
        }

    @property
    def spans(self):
        return self.exporter.get_finished_spans()


@pytest.fixture
def clock():
    return SteppedClock(auto_step=True)


@pytest.fixture
def signals(clock):
    signals = Signals(clock)
    yield signals
    signals.meters.shutdown()
    signals.tracers.shutdown()


@pytest.fixture
def keeper(signals, clock):
    """Return a keeper that runs its hooks before a call returns."""
    with TokenKeeper(hooks=[signals.hook], clock=clock, background=False) as keeper:
        yield keeper


@pytest.fixture
def provider(keeper, clock):
    provider = MockProvider("api", clock=clock, retry=RetryPolicy(attempts=2))
    keeper.add_provider(provider)
    return provider


def test_spans(keeper, provider, signals, clock):
    """Each acquisition is a span from the first request to the outcome, retries included."""
    provider.script.append(TokenAcquisitionError("down", status_code=503, retry_after=7))
    before = clock.time()
    keeper.get_token("api")
    keeper.get_token("api", force_refresh=True)
    acquired, renewed = signals.spans
    assert (acquired.name, renewed.name) == ("acquire token", "renew token")
    assert (acquired.kind, acquired.parent) == (SpanKind.CLIENT, None)
    assert acquired.start_time == int(before * 1e9)
    assert acquired.end_time == int((before + 7) * 1e9)
    assert dict(acquired.attributes) == {
        "tokenkeeper.provider.name": "api",
        "tokenkeeper.acquisition.kind": "acquire",
        "tokenkeeper.acquisition.attempts": 2,
    }
    assert acquired.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [("invalid_client", 401, "invalid_client"), (None, 403, "http_403"), (None, None, "_OTHER")],
)
def test_a_span_that_failed(keeper, provider, signals, error, status, kind):
    """A failure is a span with an error, its type by OpenTelemetry's rules, and its message."""
    provider.script.append(TokenAcquisitionError("no", error=error, status_code=status))
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    (span,) = signals.spans
    assert span.attributes["error.type"] == kind
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no")


def test_a_message_that_is_not_utf_8(keeper, provider, signals):
    """A custom provider's message is escaped: an exporter would lose all spans of its batch."""
    provider.script.append(TokenAcquisitionError("no\udce9", transient=False))
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    (span,) = signals.spans
    assert span.status.description == "no\\udce9"


@pytest.mark.parametrize(("error", "reason"), NETWORK_FAILURES)
def test_network_failures_are_named(keeper, provider, signals, error, reason):
    """A request without a response is a metric and a span with the cause as the type of error."""
    provider.script.extend([error, error])
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    attributes = {
        "tokenkeeper.provider.name": "api",
        "tokenkeeper.acquisition.kind": "acquire",
        "error.type": (reason or "_OTHER"),
    }
    (point,) = signals.data_points("acquisition.duration")
    assert dict(point.attributes) == attributes
    (span,) = signals.spans
    assert attributes.items() <= dict(span.attributes).items()


@pytest.mark.parametrize("background", [True, False])
def test_a_caller_s_own_span(signals, background):
    """The span of a waiting caller is the parent of the acquisition's span."""
    clock = SteppedClock(auto_step="retries")
    events = EventRecorder()
    hooks = [signals.hook, events]
    with TokenKeeper(hooks=hooks, clock=clock, background=background) as keeper:
        keeper.add_provider(MockProvider("api", clock=clock))
        with signals.tracers.get_tracer("test").start_as_current_span("caller") as caller:
            keeper.get_token("api")
        events.wait_for(TokenAcquired)
    (acquired,) = [span for span in signals.spans if span.name == "acquire token"]
    assert acquired.parent.span_id == caller.get_span_context().span_id


def test_metrics(keeper, provider, signals, clock):
    """Acquisitions, requests, refused and cleared tokens are counted."""
    keeper.get_token("api")
    keeper.renew_refused("api", keeper.get_token("api"))
    assert signals.points("acquisition.duration") == {("acquire", "api"): 1, ("api", "renew"): 1}
    assert signals.points("token.requests") == {("api",): 2}
    assert signals.points("token.refused") == {("api",): 1}
    clock.step(600)
    assert signals.points("token.remaining_lifetime") == {("api",): 3000}
    keeper.clear_token("api")
    assert signals.points("token.cleared") == {("api",): 1}
    assert signals.points("token.remaining_lifetime") == {}


def test_failures(keeper, provider, signals, clock):
    """Failed renewals are counted by type, with their consequences."""
    down = TokenAcquisitionError("down", status_code=503)
    keeper.get_token("api")
    provider.script.extend([down, down])
    clock.step(3400)
    keeper.get_token("api")
    assert signals.points("token.served_stale") == {("api",): 1}
    clock.step(300)
    provider.script.extend([down, down])
    with pytest.raises(TokenAcquisitionError):
        keeper.get_token("api")
    assert signals.points("cooldowns") == {("api",): 1}
    assert signals.points("acquisition.duration")["api", "http_503", "renew"] == 2


def test_a_refused_token_has_no_life_left(keeper, provider, signals):
    """While a refused token can't be renewed, its own lifetime is not reported."""
    token = keeper.get_token("api")
    provider.script.append(TokenAcquisitionError("no", error="invalid_client", status_code=401))
    with pytest.raises(TokenAcquisitionError):
        keeper.renew_refused("api", token)
    assert signals.points("token.remaining_lifetime") == {("api",): 0}


def test_buckets_are_seconds(keeper, provider, signals):
    """The histogram's buckets distinguish fast servers from slow ones."""
    keeper.get_token("api")
    (point,) = signals.data_points("acquisition.duration")
    assert point.explicit_bounds[0] < 0.1
    assert point.explicit_bounds[-1] == 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_fork_waits_for_the_sdk(signals, monkeypatch, fork_while):
    """A fork waits while the SDK's locks are held: the child would never get them released."""

    def count(entered, go_on):
        def add(*_):
            entered.set()
            assert go_on.wait(20)

        monkeypatch.setattr(signals.hook._metrics, "_cooldowns", types.SimpleNamespace(add=add))
        signals.hook(CooledDown("api", datetime.now(UTC), 30.0))

    assert fork_while(count)


def test_hooks_of_one_meter_provider_share_its_metrics(keeper, provider, signals, clock):
    """A second hook, as in a module that is imported twice, reports in the same metrics."""
    second = OpenTelemetryHook(signals.meters, signals.tracers, clock)
    with TokenKeeper(hooks=[second], clock=clock, background=False) as other:
        other.add_provider(MockProvider("other", clock=clock))
        other.get_token("other")
        keeper.get_token("api")
    assert signals.points("token.remaining_lifetime") == {("other",): 3600, ("api",): 3600}
    assert signals.points("token.requests") == {("other",): 1, ("api",): 1}


BEFORE_THE_SDK = """
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from tokenkeeper import TokenKeeper
    from tokenkeeper.integrations.opentelemetry import OpenTelemetryHook
    from tokenkeeper.testing import StaticProvider

    def use(name, *arguments):
        keeper = TokenKeeper(hooks=[OpenTelemetryHook(*arguments)], background=False)
        keeper.add_provider(StaticProvider(name, "a token"))
        keeper.get_token(name)

    use("before")
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    use("after")
    use("named", metrics.get_meter_provider())
    found = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    (gauge,) = [each for each in found if each.name == "tokenkeeper.token.remaining_lifetime"]
    points = gauge.data.data_points
    print(*sorted(point.attributes["tokenkeeper.provider.name"] for point in points))
"""


def test_hooks_from_before_the_sdk_is_set_up():
    """A hook that was created before the global SDK was set shares its metrics with later ones."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(BEFORE_THE_SDK)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.split(), done.returncode) == (["after", "before", "named"], 0), done.stderr


def test_a_removal_comes_between_events(signals, monkeypatch):
    """A removal is not lost to an event that a keeper on another thread reports meanwhile."""

    def can_report():
        guard = forks_wait()
        if entered := guard.acquire(blocking=False):
            guard.release()
        return entered

    def remove(_):
        with ThreadPoolExecutor(1) as another_thread:
            found.append(another_thread.submit(can_report).result(20))

    found = []
    monkeypatch.setattr(signals.hook._metrics._sign_ins, "remove", remove)
    signals.hook(ProviderRemoved("api", NOW))
    assert found == [False]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"clock": SteppedClock}, "clock must have"),
        ({"max_providers": 1.5}, "max_providers must be a whole number, not float"),
        ({"max_providers": -1}, "max_providers must be a number, 0 or more"),
    ],
    ids=["clock", "fraction", "negative"],
)
def test_mistakes(arguments, problem):
    """A mistake is an error at once, and not one in the log at each event."""
    with pytest.raises(InvalidConfigurationError, match=problem):
        OpenTelemetryHook(**arguments)


def test_without_an_sdk(clock):
    """Without an SDK the hook does nothing."""
    with TokenKeeper(hooks=[OpenTelemetryHook()], clock=clock, background=False) as keeper:
        keeper.add_provider(MockProvider("api", clock=clock))
        assert keeper.get_token("api")


def test_a_removed_provider_has_no_life_left_to_report(keeper, provider, signals):
    """The remaining lifetime of a removed provider is no longer reported."""
    keeper.get_token("api")
    assert signals.points("token.remaining_lifetime")
    keeper.remove_provider("api")
    assert not signals.points("token.remaining_lifetime")


@pytest.fixture
def fleet(signals, clock):
    with FleetStory(clock, lambda: MockProvider("api", clock=clock), [signals.hook]) as fleet:
        yield fleet


def test_a_fleet(fleet, signals, clock):
    """What is taken over, replaced or seen to differ in a fleet is counted, with its age."""
    fleet.adopt()
    assert signals.points("token.adopted") == {("api",): 1}
    assert signals.points("token.requests") == {}
    assert signals.points("token.remaining_lifetime") == {("api",): 3590}
    (age,) = signals.data_points("adoption.age")
    assert age.sum == 10
    fleet.take_over()
    assert signals.points("claims.taken_over") == {("api",): 1}
    (age,) = signals.data_points("claim.age")
    assert age.sum == 40
    fleet.replace()
    assert signals.points("records.replaced") == {("api",): 1}
    fleet.disagree()
    assert signals.points("clocks.disagreements") == {("api",): 1}


def test_a_claim_of_unknown_age(signals):
    """A claim whose age the store does not know is counted, without spoiling the sum."""
    now, age = datetime.now(UTC), float("inf")
    signals.hook(ClaimTakenOver("api", now, claim_age_seconds=age, intent="host:1 is about to ask"))
    assert signals.points("claims.taken_over") == {("api",): 1}
    assert not signals.points("claim.age")


def test_a_store_that_is_away(fleet, signals):
    """A store is shown as unavailable until it is back, and the time spent in it is measured."""
    fleet.store.takes = 0.25
    fleet.adopt()
    store = (fleet.store.label,)
    fleet.lose_store()
    assert signals.points("store.unavailable") == {store: 1}
    fleet.find_store()
    assert signals.points("store.unavailable") == {store: 0}
    assert signals.points("store.outages") == {store: 1}
    (spent,) = signals.data_points("store.duration")
    assert (spent.count, spent.sum) == (3, 0.75)


def test_as_many_providers_as_the_limit(keeper, signals, clock):
    """Providers beyond the limit are counted together, until one is removed."""
    for number in range(10):
        keeper.add_provider(MockProvider(f"c{number}", clock=clock))
        keeper.get_token(f"c{number}")
    assert signals.points("token.requests") == {("c0",): 1, ("c1",): 1, ("c2",): 1, ("_other",): 7}
    assert set(signals.points("token.remaining_lifetime")) == {("c0",), ("c1",), ("c2",)}
    assert {span.attributes["tokenkeeper.provider.name"] for span in signals.spans} == {
        f"c{number}" for number in range(10)
    }
    keeper.remove_provider("c0")
    keeper.get_token("c9", force_refresh=True)
    assert set(signals.points("token.remaining_lifetime")) == {("c1",), ("c2",), ("c9",)}


class TestSignIns:
    """Grants that a person begins by signing in."""

    def needed(self, name=""):
        """Return the event of a token that only a person can bring back."""
        return AcquisitionFailed(
            "api", NOW, 0, 0.0, 0.0, None, None, "", needs_sign_in=True, token_name=name
        )

    def test_whether_one_is_needed(self, signals):
        """The gauge is 1 from the failure on until there is a token."""
        signals.hook(self.needed())
        assert signals.points("sign_in.needed") == {("api",): 1}
        signals.hook(TokenAcquired("api", NOW, 1, 0.5, 3600.0))
        assert signals.points("sign_in.needed") == {("api",): 0}
        signals.hook(ProviderRemoved("api", NOW))
        assert signals.points("sign_in.needed") == {}

    def test_other_failures(self, signals):
        """A failure that needs no person does not show; the same for an account without a token."""
        signals.hook(AcquisitionFailed("api", NOW, 1, 0.1, 0.0, "invalid_client", 401, ""))
        signals.hook(self.needed('api\n{"account":"acme"}'))
        signals.hook(TokenAcquired("api", NOW, 1, 0.5, 3600.0))
        assert signals.points("sign_in.needed") == {}

    def test_they_are_counted(self, signals):
        """Each sign-in that ended is counted, by its outcome."""
        signals.hook(SignInStarted("api", NOW, grant_type="authorization_code"))
        signals.hook(SignInCompleted("api", NOW, grant_type="authorization_code"))
        signals.hook(
            SignInFailed("api", NOW, grant_type="ciba", error="access_denied", reason="no")
        )
        expected = {("api", "completed"): 1, ("api", "failed"): 1}
        assert signals.points("sign_ins") == expected

    def test_many_providers(self, signals):
        """Providers beyond the limit have no gauge, and cost no memory."""
        for number in range(3):
            signals.hook(TokenAcquired(f"other-{number}", NOW, 1, 0.5, 3600.0))
        signals.hook(self.needed())
        assert signals.points("sign_in.needed") == {}
        assert not signals.hook._metrics._sign_ins._needed_by.all()
