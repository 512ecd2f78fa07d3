"""The recipes for ``/metrics`` pages of several processes, in real gunicorn and Celery workers."""

import os
import re
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import requests
from kit.guards import PROGRAM_SECONDS, until
from prometheus_client.parser import text_string_to_metric_families

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "metrics.md"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

TOKEN_ROUTE = """
urlpatterns.append(path("token", lambda _: HttpResponse(keeper.get_token("billing"))))
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
"""
WARM_CHILDREN = """
from pathlib import Path
from celery.signals import worker_process_init

start_on = start_http_server

def start_http_server(port, **options):
    server, _ = start_on(port, **options)
    Path("port").write_text(str(server.server_port))

@worker_process_init.connect
def warm(**_):
    keeper.get_token("billing")
"""


wait_until = partial(until, limit=PROGRAM_SECONDS, pause=0.05)


def recipe(host):
    """Return the Python block below the heading *host*."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n### {host}\n")[2]
    return re.search(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)[1]


def granted(url):
    """Return how many tokens a page counts."""
    page = requests.get(url, timeout=PROGRAM_SECONDS).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "tokenkeeper_tokens_granted_total"
    )


def expiries(folder):
    """Return the processes with a token whose expiry is shown."""
    return {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_livemin_*.db")}


@pytest.fixture
def folder(tmp_path):
    """Return the directory of the multiprocess mode."""
    folder = tmp_path / "metrics"
    folder.mkdir()
    return folder


@pytest.fixture
def start(tmp_path, folder):
    """Return a function that starts a host in a folder of its own."""
    started = []

    def start(*command, **options):
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=tmp_path,
                env={**environment, **options.pop("env", {})},
                stdout=log,
                stderr=log,
                **options,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(PROGRAM_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_gunicorn(start, folder, tmp_path):
    """Each worker's page adds up the tokens of all, and a worker that is killed is forgotten."""
    (tmp_path / "main.py").write_text(recipe("Django") + TOKEN_ROUTE)
    (tmp_path / "gunicorn.conf.py").write_text(recipe("gunicorn"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        number = listener.fileno()
        bind = ("-b", f"fd://{number}", "--worker-tmp-dir", str(tmp_path))
        start("gunicorn", "-w", "2", *bind, "main:app", pass_fds=[number])
        headers = {"Host": "testserver", "Connection": "close"}

        def both_have_tokens():
            requests.get(f"{url}/token", headers=headers, timeout=PROGRAM_SECONDS)
            return len(expiries(folder)) == 2

        wait_until(both_have_tokens)
        page = requests.get(f"{url}/metrics", headers=headers, timeout=PROGRAM_SECONDS)
        line = 'tokenkeeper_tokens_granted_total{kind="acquired",provider="billing"} 2.0'
        assert line in page.text
        victim = min(expiries(folder))
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in expiries(folder))


def test_celery(start, folder, tmp_path):
    """The page of the main process adds up the tokens of its children, until they are stopped."""
    (tmp_path / "main.py").write_text(recipe("Celery") + WARM_CHILDREN)
    options = ("--pool", "prefork", "--concurrency", "2", "--without-gossip", "--without-mingle")
    worker = start("celery", "-A", "main", "worker", *options, env={"METRICS_PORT": "0"})
    port = tmp_path / "port"
    wait_until(lambda: port.exists() and port.read_text())
    wait_until(lambda: granted(f"http://127.0.0.1:{port.read_text()}/metrics") == 2)
    assert len(expiries(folder)) == 2
    worker.terminate()
    worker.wait(PROGRAM_SECONDS)
    assert not expiries(folder)
