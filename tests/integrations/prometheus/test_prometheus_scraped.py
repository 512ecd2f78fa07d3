"""A real Prometheus scrapes a keeper, and its alerts fire."""

import re
import shutil
import subprocess
from pathlib import Path

import prometheus_client
import pytest
import requests
import yaml
from kit.guards import PROGRAM_SECONDS, until

from tokenkeeper import GenericOAuth2Provider, TokenAcquisitionError, TokenKeeper
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.testing import LoopbackAuthorizationServer

ALERTS = Path(__file__).parents[3] / "docs" / "metrics" / "alerts.yaml"
PATIENT = {"limit": PROGRAM_SECONDS, "pause": 0.1}
LISTENING = re.compile(r'msg="Listening on".*address=(127\.0\.0\.1:\d+)')

pytestmark = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="prometheus (Debian's package) is not installed"
)


@pytest.fixture
def registry():
    return prometheus_client.CollectorRegistry()


@pytest.fixture
def page(registry):
    """Return the address of the registry's page."""
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(PROGRAM_SECONDS)


@pytest.fixture
def prometheus(page, tmp_path):
    """Return a function that queries a Prometheus with our rules, which scrapes the page."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "service", "static_configs": [{"targets": [page]}]}],
    }
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    said = tmp_path / "said"
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yaml",
        f"--storage.tsdb.path={tmp_path}/data",
        "--web.listen-address=127.0.0.1:0",
    ]
    with said.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
    try:
        address = until(lambda: LISTENING.search(said.read_text()), said.read_text, **PATIENT)[1]

        def ask(path, **parameters):
            url = f"http://{address}/api/v1/{path}"
            return requests.get(url, params=parameters, timeout=PROGRAM_SECONDS).json().get("data")

        yield ask
    finally:
        process.terminate()
        try:
            process.wait(PROGRAM_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_wrong_secret_fires_an_alert(registry, prometheus):
    """A rejected secret fires an alert at once, and a client that works fires none."""
    with (
        LoopbackAuthorizationServer() as server,
        TokenKeeper(hooks=[PrometheusHook(registry)]) as keeper,
    ):
        keeper.add_provider(GenericOAuth2Provider(server.config("well")))
        keeper.add_provider(GenericOAuth2Provider(server.config("ill", client_secret="wrong")))
        keeper.get_token("well")
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("ill")

    def firing():
        alerts = (prometheus("alerts") or {"alerts": []})["alerts"]
        return [alert for alert in alerts if alert["state"] == "firing"]

    (alert,) = until(firing, lambda: prometheus("targets"), **PATIENT)
    assert alert["labels"]["alertname"] == "TokenkeeperWrongCredentials"
    assert alert["labels"]["provider"] == "ill"
    assert alert["annotations"]["summary"] == "The server refuses the client of ill"
    expiry = "tokenkeeper_token_expiry_timestamp_seconds - time()"
    left = {
        sample["metric"]["provider"]: float(sample["value"][1])
        for sample in prometheus("query", query=expiry)["result"]
    }
    assert left["ill"] < 0 < left["well"] < 3600
    (group,) = prometheus("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
