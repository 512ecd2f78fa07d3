"""Metrics, spans, logs and errors have the provider's name, and nothing else of a token's name."""

import logging
import re
from datetime import UTC, datetime, timedelta

import pytest
import requests
from integrations.fleet_story import FleetStory
from kit import internals
from kit.guards import GUARD_SECONDS
from kit.servers.signing_in import SignInServer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest

from tokenkeeper import (
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    OAuth2Config,
    OAuth2Error,
    OAuth2Token,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.events import __all__ as names_of_events
from tokenkeeper.integrations.opentelemetry import OpenTelemetryHook
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.integrations.requests import KeeperAuth
from tokenkeeper.providers.grants.authorization_code import AuthorizationCode

CHOSEN = {
    "account": "jane@example.com",
    "subject": "s3cr3t-subject",
    "actor": "s3cr3t-actor",
    "tenant": "janes-tenant",
    "resource": "https://janes.example",
    "audience": "janes-audience",
    "scope": "janes-scope",
}


class Customers(BaseOAuth2Provider):
    """Grants tokens that say nothing of whom they are for."""

    takes = frozenset(CHOSEN)
    number = 0

    def __init__(self, clock):
        super().__init__("api")
        self.clock = clock
        self.failures = []  # shared with the variants

    def acquire_token(self):
        if self.failures:
            raise self.failures[0]
        Customers.number += 1
        ends = datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(hours=1)
        return OAuth2Token(f"token-{Customers.number}", "Bearer", ends)


@pytest.fixture
def signals(caplog):
    """Return hooks, and a function that returns all that they and the log have recorded."""
    caplog.set_level(logging.DEBUG)
    registry, reader, exporter = CollectorRegistry(), InMemoryMetricReader(), InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    events = []
    hooks = [
        PrometheusHook(registry),
        OpenTelemetryHook(MeterProvider([reader]), tracers),
        events.append,
    ]

    def recorded():
        return {
            "events": sorted({type(event).__name__ for event in events}),
            "shown events": repr(events),
            "prometheus": generate_latest(registry).decode(),
            "metrics": reader.get_metrics_data().to_json(),
            "spans": "".join(span.to_json() for span in exporter.get_finished_spans()),
            "log": "".join(f"{each.getMessage()} {each.__dict__}" for each in caplog.records),
        }

    return hooks, recorded


def test_everything_that_happens(clock, signals, tmp_path):
    """In the whole life of such a token no signal and no error shows what it was asked for with."""
    hooks, recorded = signals
    errors = []

    def attempt(call):
        try:
            call()
        except OAuth2Error as error:
            errors.append(f"{error} {error!r} {vars(error)}")

    with TokenKeeper(clock=clock, hooks=hooks, background=False, max_tokens=1) as keeper:
        keeper.add_provider(provider := Customers(clock))
        source = keeper.source("api", **CHOSEN)
        end = source.subscribe(lambda token: 1 / 0)
        provider.failures.append(TokenAcquisitionError("down", transient=True))
        attempt(source)
        attempt(lambda: keeper.get_token(source.name))
        clock.step(60)
        provider.failures.clear()
        source.write_to(tmp_path / "token")
        for _ in range(10):
            attempt(lambda: source.renew_refused(source()))
        provider.failures.append(TokenAcquisitionError("no", transient=False))
        clock.step(3400)
        attempt(source)
        clock.step(4000)
        attempt(source)
        attempt(lambda: source.get_token(timeout=0))
        provider.failures.clear()
        clock.step(60)
        source()
        end()
        KeeperAuth(source)
        keeper.health()
        keeper.source("api", account="another")()
        keeper.clear_token()
        source()
        live_in_a_fleet(clock, hooks)
        sign_in_and_out(hooks, attempt)
        found = recorded()  # Prometheus forgets a provider that is removed
        keeper.remove_provider("api")
        attempt(source)
        found["log"] = recorded()["log"]
    happened = set(recorded()["events"])
    del found["events"]
    bases = {"TokenEvent", "TokenGranted", "TokenDenied", "SignInEvent", "EventHook"}
    assert happened == {*names_of_events} - bases
    assert len(errors) > 5
    for kind, text in {**found, "errors": "".join(errors)}.items():
        assert "api" in text, kind
        for secret in ("jane", "s3cr3t", "sha256", "token_name"):
            assert secret not in text, kind
    assert internals.sizes(keeper)["cached"] == 0


def sign_in_and_out(hooks, attempt):
    """Have everything happen that happens to a sign-in."""
    with SignInServer() as server, TokenKeeper(hooks=hooks, background=False) as keeper:
        config = OAuth2Config("api", "me", issuer=server.issuer)
        grant = AuthorizationCode()
        options = {"grant": grant, "token_endpoint_auth_method": "none"}
        keeper.add_provider(GenericOAuth2Provider(config, **options))
        for declines in (True, False):
            server.declines = declines
            with keeper.authorize("api", account=CHOSEN["account"]) as authorization:
                requests.get(authorization.url, timeout=GUARD_SECONDS)
                attempt(authorization.wait)
        attempt(lambda: keeper.revoke("api", account=CHOSEN["account"]))
        attempt(keeper.source("api", account=CHOSEN["account"]))


def live_in_a_fleet(clock, hooks):
    """Have everything happen that happens to a keeper with a store."""
    with FleetStory(clock, lambda: Customers(clock), hooks) as fleet:
        fleet.store.takes = 0.01
        for keeper in (fleet.there, fleet.here):
            keeper.source("api", account=CHOSEN["account"])()
        fleet.store.forget(*fleet.store.keys(), entirely=True)
        fleet.adopt()
        fleet.take_over()
        fleet.replace()
        fleet.disagree()
        fleet.lose_store()
        fleet.find_store()


def test_several_tokens_of_one_provider(clock, signals):
    """A metric counts all tokens of a provider; its remaining lifetime is that of the first."""
    hooks, recorded = signals
    with TokenKeeper(clock=clock, hooks=hooks, background=False) as keeper:
        keeper.add_provider(Customers(clock))
        keeper.get_token("api")
        for account in ("a", "b", "c"):
            clock.step(100)
            keeper.source("api", account=account)()
        now = clock.time()
    found = recorded()
    line = r'^tokenkeeper_token_expiry_timestamp_seconds{provider="api"} (.*)$'
    (expiry,) = re.findall(line, found["prometheus"], re.MULTILINE)
    assert float(expiry) == now + 3300
    assert '"tokenkeeper.provider.name": "api"' in found["metrics"]
    assert found["spans"].count('"name": "acquire token"') == 4
