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
from tokenkeeper.integrations.prometheus import PrometheusHook

METRICS = Path(__file__).parents[3] / "docs" / "metrics"
NOW = datetime(2026, 1, 2, tzinfo=UTC)

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool (Debian's package prometheus) is not installed"
)


@pytest.fixture(scope="module")
def page():
    """Return a page with every metric."""
    registry = prometheus_client.CollectorRegistry()
    hook = PrometheusHook(registry)
    for event in (
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
    ):
        hook(event)
    return prometheus_client.generate_latest(registry).decode()


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((METRICS / "grafana-dashboard.json").read_text())


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def names_in(text):
    return set(re.findall(r"\btokenkeeper_\w+", text))


def test_the_dashboard_shows_all_metrics(dashboard, page):
    """The dashboard shows all metrics of a page, and no others."""
    shown = set().union(*map(names_in, expressions(dashboard)))
    there = {name for name in names_in(page) if not name.endswith(("_created", "_sum", "_count"))}
    families = {name.removesuffix("_bucket") for name in there}
    assert {name.removesuffix("_bucket") for name in shown} == families
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
