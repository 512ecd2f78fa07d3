"""The dashboard and the alert rules use metrics that exist, and alerts fire."""

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import prometheus_client
import pytest
import yaml
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from tokenkeeper.events import (
    AcquisitionFailed,
    ClaimTakenOver,
    ClocksDisagree,
    CooledDown,
    RecordReplaced,
    ServedStale,
    SignInCompleted,
    StoreUnavailable,
    TokenAcquired,
    TokenAdopted,
    TokenCleared,
    TokenRefused,
)
from tokenkeeper.integrations.opentelemetry import OpenTelemetryHook
from tokenkeeper.integrations.prometheus import PrometheusHook

METRICS = Path(__file__).parents[3] / "docs" / "metrics"
GUIDE = METRICS.parent / "how-to" / "metrics.md"
NOW = datetime(2026, 1, 2, tzinfo=UTC)

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool (Debian's package prometheus) is not installed"
)


EVENTS = (
    TokenAcquired("api", NOW, 1, 0.5, 3600.0, store_seconds=0.001),
    AcquisitionFailed("api", NOW, 1, 0.5, 0.0, "invalid_client", 401, "no"),
    AcquisitionFailed("api", NOW, 0, 0.0, 0.0, None, None, "no", needs_sign_in=True),
    SignInCompleted("api", NOW, grant_type="authorization_code"),
    ServedStale("api", NOW, 5.0),
    CooledDown("api", NOW, 30.0),
    TokenRefused("api", NOW),
    TokenCleared("api", NOW),
    TokenAdopted(
        "api", NOW, age_seconds=0.1, remaining_seconds=9.0, generation=2, granted_to="host:1"
    ),
    ClaimTakenOver("api", NOW, claim_age_seconds=40.0, intent="host:1 is about to ask"),
    RecordReplaced("api", NOW, reason="it was cut short"),
    ClocksDisagree("api", NOW, difference_seconds=60.0),
    StoreUnavailable("api", NOW, store="redis://cache", reason="it is down"),
)
"""Events that have every metric reported."""


@pytest.fixture(scope="module")
def page():
    """Return a page with every metric."""
    registry = prometheus_client.CollectorRegistry()
    hook = PrometheusHook(registry)
    for event in EVENTS:
        hook(event)
    return prometheus_client.generate_latest(registry).decode()


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((METRICS / "grafana-dashboard.json").read_text())


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def names_in(text):
    return set(re.findall(r"\btokenkeeper_\w+", text))


def families_in(page):
    """Return the names of the metrics of a page, without those of their parts."""
    parts = ("_created", "_sum", "_count", "_bucket")
    return {name for name in names_in(page) if not name.endswith(parts)}


def in_tables(prefix):
    """Return the names of metrics in the guide's tables."""
    rows = re.findall(r"^\| (`.*?`) \|", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(.*?)`", row)]
    assert len(names) == len(set(names))
    return {name for name in names if name.startswith(prefix)}


def test_the_guide_describes_all_metrics(page):
    """The guide has each metric of a page once, and no others."""
    assert in_tables("tokenkeeper_") == families_in(page)


def test_the_guide_describes_all_metrics_of_opentelemetry():
    """The guide has each metric that an SDK gets once, and no others."""
    reader = InMemoryMetricReader()
    hook = OpenTelemetryHook(MeterProvider([reader], shutdown_on_exit=False))
    for event in EVENTS:
        hook(event)
    (resource,) = reader.get_metrics_data().resource_metrics
    names = {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
    assert in_tables("tokenkeeper.") == names


def test_the_dashboard_shows_all_metrics(dashboard, page):
    """The dashboard shows all metrics of a page, and no others."""
    shown = set().union(*map(names_in, expressions(dashboard)))
    assert {name.removesuffix("_bucket") for name in shown} == families_in(page)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_alerts_use_metrics_that_exist(page):
    """Each rule uses metrics that exist, and has a severity and instructions."""
    (group,) = yaml.safe_load((METRICS / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert names_in(rule["expr"])
        assert names_in(rule["expr"]) <= names_in(page)
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} <= rule["annotations"].keys()


@needs_promtool
def test_alerts_fire():
    """Rules fire when they should, and only then."""
    for what in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts-test.yaml"]):
        done = subprocess.run(
            ["promtool", *what], cwd=METRICS, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_page_is_as_prometheus_wants_it(page):
    """Names, types and help texts of the metrics follow Prometheus's conventions."""
    page = "\n".join(line for line in page.splitlines() if "_created" not in line) + "\n"
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_promtool
def test_the_dashboard_s_expressions_can_be_read(dashboard, tmp_path):
    """Prometheus can parse every expression of the dashboard."""
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$__rate_interval", "5m")}
        for number, expr in enumerate(expressions(dashboard))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
