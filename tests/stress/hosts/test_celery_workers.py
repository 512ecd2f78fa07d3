"""A real Celery worker with each of its pools, whose tasks get tokens from one keeper."""

import time
from collections import defaultdict

import pytest
from celery import Celery
from kit.guards import PROGRAM_SECONDS, until

TASKS = 110


@pytest.fixture
def client(tmp_path):
    """Return an application that only sends tasks."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    app = Celery("client", broker="filesystem://", backend=f"file://{tmp_path}/results")
    app.conf.broker_transport_options = {
        "data_folder_in": f"{tmp_path}/queue",
        "data_folder_out": f"{tmp_path}/queue",
        "control_folder": f"{tmp_path}/control",
    }
    yield app
    app.close()


@pytest.fixture
def start_worker(start, tmp_path):
    """Start a worker with a pool and further arguments of the command line."""

    def start_worker(pool, *options, **settings):
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "warning"]
        command = ["celery", "-A", "celery_app", "worker", "-P", pool, *quiet, *options]
        return start(*command, BROKER_FOLDER=str(tmp_path), **settings)

    return start_worker


def run_tasks(client, count=TASKS, pause=0.06):
    """Send tasks over a while; return their results, and the time that all of them took."""
    began = time.monotonic()
    sent = []
    for _ in range(count):
        sent.append(client.send_task("celery_app.call"))
        time.sleep(pause)
    results = [task.get(timeout=PROGRAM_SECONDS) for task in sent]
    return results, time.monotonic() - began


def assert_ended_well(worker):
    assert worker.stop() == 0, worker.output()
    assert "Traceback" not in worker.output()


@pytest.mark.parametrize(
    ("pool", "options"), [("prefork", ["-c", "3"]), ("threads", ["-c", "8"]), ("solo", [])]
)
def test_a_pool(server, client, start_worker, most_requests, pool, options):
    """Over two lifetimes every call succeeds, and no process makes a needless request."""
    worker = start_worker(pool, *options)
    results, took = run_tasks(client)
    assert [status for *_, status in results] == [200] * TASKS
    tokens = defaultdict(set)
    for pid, token, _ in results:
        tokens[pid].add(token)
    assert len(tokens) == (3 if pool == "prefork" else 1)
    assert all(len(each) >= 2 for each in tokens.values()), "nobody renewed"
    stats = server.stats("worker")
    assert stats["token_requests"] <= most_requests(len(tokens) + 1, took)
    if pool == "threads":
        assert stats["most_at_once"] == 1
    assert_ended_well(worker)


def test_children_that_are_replaced_all_along(server, client, start_worker):
    """The parent's token serves all its later children: one request in total."""
    server.add_client("worker", "worker-secret", lifetime_seconds=3600)
    worker = start_worker("prefork", "-c", "2", "--max-tasks-per-child", "5", WARM="yes")
    # 43 tasks, so that no child is about to be replaced when the worker is stopped: what the pool
    # does at that moment is Celery's own.
    results, _ = run_tasks(client, count=43, pause=0)
    assert [status for *_, status in results] == [200] * 43
    assert len({pid for pid, *_ in results}) >= 8
    assert len({token for _, token, _ in results}) == 1
    assert server.stats("worker")["token_requests"] == 1
    assert_ended_well(worker)


def test_a_soft_time_limit(server, client, start_worker):
    """A task that is interrupted while it waits for a token leaves no lock held."""
    server.add_client("worker", "worker-secret", lifetime_seconds=3600)
    worker = start_worker("prefork", "-c", "1", WARM="yes")
    assert client.send_task("celery_app.call").get(timeout=PROGRAM_SECONDS)[2] == 200
    server.add_client("worker", "worker-secret", lifetime_seconds=3600, delay_seconds=3)
    assert client.send_task("celery_app.insist").get(timeout=PROGRAM_SECONDS) == "interrupted"
    until(lambda: server.stats("worker")["grants"] == 2, "the renewal that nobody waits for")
    server.add_client("worker", "worker-secret", lifetime_seconds=3600)
    _, token, status = client.send_task("celery_app.call").get(timeout=PROGRAM_SECONDS)
    assert status == 200
    assert client.send_task("celery_app.insist").get(timeout=PROGRAM_SECONDS) != token
    assert_ended_well(worker)
