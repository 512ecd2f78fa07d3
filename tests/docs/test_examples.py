"""The projects in docs/examples: their own tests pass, and they run on their real hosts."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from kit.guards import PROGRAM_SECONDS

from tokenkeeper.testing import LoopbackAuthorizationServer

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"
PROJECTS = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())
INTERPRETER_STATE = shutil.ignore_patterns("__pycache__", ".pytest_cache")
# FastAPI's own test client warns about the HTTP library that it uses.
STRICT = ["-W", "error", "-W", "ignore:Using `httpx` with"]


@pytest.fixture
def project(tmp_path):
    """Return a function that copies a project and returns the copy's folder."""

    def copy(name):
        return shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=INTERPRETER_STATE)

    return copy


@pytest.fixture
def server():
    """Return an authorization server that also plays the billing API."""
    with LoopbackAuthorizationServer() as server:
        server.add_client("invoices", "the secret", ["read"])
        yield server


@pytest.fixture
def environment(server):
    """Return the variables that a deployment of an example sets."""
    hidden = ("AZURE_", "OAUTH2_", "TOKENKEEPER_", "DJANGO_", "PYTEST_")
    own = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    return {
        **own,
        "BILLING_API": f"{server.issuer}/api",
        "BILLING_SECRET": "the secret",
        "BILLING_TOKEN_URL": server.token_url,
        "TOKENKEEPER_CONFIG": "tokens.yaml",
    }


@pytest.mark.parametrize("name", PROJECTS)
def test_own_tests(project, name):
    """The project's own tests pass, with warnings as errors."""
    command = [*STRICT, "-m", "pytest", "-q", "-p", "tokenkeeper.testing.plugin"]
    done = subprocess.run(
        [sys.executable, *command, "-p", "no:cacheprovider"],
        cwd=project(name),
        env={key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@contextmanager
def running(folder, environment, *command, codes=(0, -15), **options):
    """Run a Python module in *folder* and stop it at the end. It must not print a traceback."""
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            **options,
        )
    try:
        yield process
        process.terminate()
        assert process.wait(PROGRAM_SECONDS) in codes, log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    except Exception as error:
        error.add_note(log.read_text())
        raise
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def listening():
    """Return a socket that listens on loopback before a server is started on it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def get(listening, path):
    """Return the status and the JSON body of an answer."""
    url = f"http://127.0.0.1:{listening.getsockname()[1]}{path}"
    try:
        with urllib.request.urlopen(url, timeout=PROGRAM_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def broker(tmp_path):
    """Return Celery's settings for a broker of files."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    return {
        "broker_url": "filesystem://",
        "result_backend": f"file://{tmp_path}/results",
        "broker_transport_options": {
            "data_folder_in": f"{tmp_path}/queue",
            "data_folder_out": f"{tmp_path}/queue",
            "control_folder": f"{tmp_path}/control",
        },
    }


def on_files(folder, broker):
    """Add a module to *folder* that runs its worker over *broker*; return its name."""
    code = f"from invoices.worker import app\n\napp.conf.update(**{broker!r})\n"
    (folder / "on_files.py").write_text(code)
    return "on_files"


@pytest.mark.parametrize("pool", ["solo", "prefork"])
@pytest.mark.skipif(os.name != "posix", reason="Celery's prefork pool needs fork")
def test_celery_worker(project, environment, server, broker, pool):
    """A real worker runs the tasks of the Celery example, over a broker of files."""
    celery = pytest.importorskip("celery")
    folder = project("celery")
    app = on_files(folder, broker)
    command = ["celery", "-A", app, "worker", "-P", pool, "-c", "2", "-l", "warning"]
    with running(folder, environment, *command), celery.Celery("client") as client:
        client.conf.update(**broker)
        sent = [client.send_task("invoices.tasks.fetch_invoice", [n]) for n in range(4)]
        got = [task.get(timeout=PROGRAM_SECONDS) for task in sent]
        assert got == [{"path": f"/api/invoices/{n}"} for n in range(4)]
        health = client.send_task("invoices.tasks.token_health").get(timeout=PROGRAM_SECONDS)
        assert health["status"] == "ok"
    assert 1 <= server.stats().token_requests <= (2 if pool == "prefork" else 1)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Celery's prefork pool needs fork")
def test_celery_fleet(project, environment, server, broker, tmp_path):
    """A real worker whose children are replaced after each task makes one token request."""
    celery = pytest.importorskip("celery")
    folder = project("celery-fleet")
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    environment["XDG_RUNTIME_DIR"] = str(runtime)
    command = ["celery", "-A", on_files(folder, broker), "worker", "-P", "prefork", "-c", "2"]
    command += ["--max-tasks-per-child", "1", "-l", "warning"]
    with (
        running(folder, environment, *command, codes=(-9,), start_new_session=True) as worker,
        celery.Celery("client") as client,
    ):
        client.conf.update(**broker)
        sent = [client.send_task("invoices.tasks.token_origin") for _ in range(6)]
        got = [task.get(timeout=PROGRAM_SECONDS) for task in sent]
        invoice = client.send_task("invoices.tasks.fetch_invoice", [7])
        assert invoice.get(timeout=PROGRAM_SECONDS) == {"path": "/api/invoices/7"}
        # The pool forks the new children on a thread of its own, and Celery has each of them killed
        # when the thread that forked it ends (PR_SET_PDEATHSIG). So they are killed when the pool
        # is closed, and the pool waits forever for the lock of a child that was waiting for a task.
        os.killpg(worker.pid, signal.SIGKILL)
    assert len({each["process"] for each in got}) == 6
    assert {(each["generation"], each["store"]) for each in got} == {(1, "ok")}
    assert sum(each["granted_to"] is None for each in got) == 1
    assert (runtime / "tokenkeeper" / "store.db").stat().st_mode & 0o777 == 0o600
    assert server.stats().token_requests == 1


def test_fastapi_on_uvicorn(project, environment, server, listening):
    """A real server runs the FastAPI example: the probe and a route, with one token request."""
    pytest.importorskip("uvicorn")
    folder = project("fastapi")
    command = ["uvicorn", "invoices.asgi:app", "--fd", str(listening.fileno())]
    with running(folder, environment, *command, pass_fds=[listening.fileno()]):
        assert get(listening, "/ready") == (200, {"status": "ok"})
        assert get(listening, "/invoices/7") == (200, {"path": "/api/invoices/7"})
    assert server.stats().token_requests == 1


@pytest.mark.skipif(os.name != "posix", reason="gunicorn needs fork")
def test_django_on_gunicorn(project, environment, server, listening):
    """Gunicorn with ``--preload`` runs the Django example: blocking view, async view, probe."""
    pytest.importorskip("gunicorn")
    folder = project("django")
    command = ["gunicorn", "--preload", "-w", "2", "-b", f"fd://{listening.fileno()}"]
    command += ["project.wsgi"]
    with running(folder, environment, *command, pass_fds=[listening.fileno()]):
        assert get(listening, "/ready") == (200, {"status": "ok"})
        assert get(listening, "/invoices/7") == (200, {"path": "/api/invoices/7"})
        assert get(listening, "/statements/2026") == (200, {"path": "/api/statements/2026"})
    assert 1 <= server.stats().token_requests <= 2


def test_django_commands_need_no_server(project, environment):
    """``manage.py check`` works while the authorization server is down."""
    environment["BILLING_TOKEN_URL"] = "http://127.0.0.1:1/token"
    command = [*STRICT, "manage.py", "check"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project("django"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_plugins(project):
    """The plugins' host prints that two hundred tasks in two loops made one request."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "host"],
        cwd=project("async-plugins"),
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "reports {'vault-token-1'}",
        "alerts {'vault-token-1'}",
        "token requests: 1",
    ]


def test_every_file_is_shown_or_linked():
    """Each file of a project is on its page, so that readers see all of it."""
    for name in PROJECTS:
        page = (EXAMPLES.parent / "how-to" / f"{name}.md").read_text(encoding="utf-8")
        for file in [*(EXAMPLES / name).rglob("*.py"), *(EXAMPLES / name).rglob("*.yaml")]:
            path = file.relative_to(EXAMPLES).as_posix()
            assert f"(../examples/{path})" in page or file.name == "__init__.py", path
