"""gunicorn with ``--preload``: a keeper created in the master works in every worker."""

import os
import signal
import socket
import threading
import time
from collections import defaultdict

import pytest
import urllib3
from kit.servers.watched import until

CALLERS = 12


@pytest.fixture
def gunicorn(start):
    """Start gunicorn on a socket that is already bound, and wait until it answers."""
    listening = socket.create_server(("127.0.0.1", 0))

    def gunicorn(*options):
        fd = listening.fileno()
        command = ["gunicorn", "--preload", "-b", f"fd://{fd}", "--graceful-timeout", "10"]
        program = start(*command, *options, "wsgi_app:app", pass_fds=[fd], WARM="yes")
        program.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        until(lambda: "Booting worker" in program.output(), "a worker")
        return program

    yield gunicorn
    listening.close()


class Callers:
    """Threads that call the service all the time."""

    def __init__(self, url):
        self.results = []
        self.broken = 0  # calls that met a worker's exit
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def _call(self):
        while not self._stop.wait(0.05):
            try:
                answer = urllib3.request("GET", self._url, retries=False, timeout=30)
                self.results.append(answer.json())
            except urllib3.exceptions.HTTPError:
                self.broken += 1

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.results


@pytest.mark.parametrize("options", [["-k", "sync"], ["-k", "gthread", "--threads", "4"]])
def test_workers_of_a_warm_master(server, gunicorn, most_requests, options):
    """Over two lifetimes every call succeeds, and each worker renews in its own background."""
    began = time.monotonic()
    program = gunicorn("-w", "3", *options)
    callers = Callers(program.url)
    tokens = defaultdict(set)

    def all_renewed():
        for pid, token, _ in list(callers.results):
            tokens[pid].add(token)
        return len(tokens) == 3 and all(len(each) >= 3 for each in tokens.values())

    until(all_renewed, "two renewals in each worker")
    results = callers.stop()
    assert {status for *_, status in results} == {200}
    assert callers.broken == 0
    took = time.monotonic() - began
    assert server.stats("worker")["token_requests"] <= most_requests(4, took)
    assert program.stop() == 0, program.output()
    assert "Traceback" not in program.output()


def test_a_worker_that_is_killed(server, gunicorn):
    """The worker that replaces another has the master's token, which is valid for an hour."""
    server.add_client("worker", "worker-secret", lifetime_seconds=3600)
    program = gunicorn("-w", "2", "-k", "gthread", "--threads", "4")
    callers = Callers(program.url)
    until(lambda: len({pid for pid, *_ in list(callers.results)}) == 2, "both workers")
    for _ in range(3):
        known = {pid for pid, *_ in list(callers.results)}
        os.kill(callers.results[-1][0], signal.SIGKILL)
        until(lambda known=known: {pid for pid, *_ in list(callers.results)} - known, "another")
    results = callers.stop()
    assert {status for *_, status in results} == {200}
    assert len({token for _, token, _ in results}) == 1
    assert server.stats("worker")["token_requests"] == 1
    assert program.stop() == 0, program.output()


def test_gevent_that_patches_too_late(server, gunicorn):
    """Workers of gevent, which patch after the master loaded the keeper, don't hang."""
    program = gunicorn("-k", "gevent", "-w", "1")
    refused = []

    def refuses():
        answer = urllib3.request("GET", program.url, retries=False, timeout=5)
        assert answer.status in (200, 500)  # a fresh token is returned
        refused.append(answer.status == 500)
        time.sleep(0.05)
        return sum(refused) >= 5

    until(refuses, "a refusal")
    assert "call gevent.monkey.patch_all() before tokenkeeper is imported" in program.output()
    assert program.stop() == 0, program.output()
