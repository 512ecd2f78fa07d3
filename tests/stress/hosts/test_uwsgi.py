"""uWSGI forks its workers in C: without Python's fork hooks, or with half of them."""

import os
import sys
import time
from collections import defaultdict

import pytest
import urllib3
from kit.programs import free_port
from kit.servers.watched import until

pytest.importorskip("pyuwsgi")

MODES = {
    "as it comes": [],
    "with threads": ["--enable-threads"],
    "with a pool of threads": ["--enable-threads", "--threads", "4"],
    "with the child's half of the hooks": ["--enable-threads", "--py-call-osafterfork"],
    "with all hooks": ["--enable-threads", "--py-call-uwsgi-fork-hooks"],
    "loaded in each worker": ["--enable-threads", "--lazy-apps"],
}


@pytest.mark.parametrize("mode", MODES)
def test_workers(server, start, most_requests, mode):
    """Over two lifetimes every call is answered in time, and each worker renews its own tokens.

    The master has requested a token before, and still has no thread but its own.
    """
    place = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    program = start(
        "uwsgi_run",
        *("--http-socket", place, "--master", "-p", "2", "--need-app", "--die-on-term"),
        *("--module", "wsgi_app:app", "--venv", sys.prefix, *MODES[mode]),
        WARM="yes",
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    tokens = defaultdict(set)

    def all_renewed():
        try:
            answer = urllib3.request("GET", f"http://{place}", retries=False, timeout=10)
        except urllib3.exceptions.NewConnectionError:  # it is about to start
            assert program.process.poll() is None, program.output()
            time.sleep(0.1)
            return False
        assert answer.status == 200, program.output()
        pid, token, status = answer.json()
        assert status == 200
        assert pid != program.process.pid
        tokens[pid].add(token)
        time.sleep(0.02)
        return len(tokens) == 2 and all(len(each) >= 3 for each in tokens.values())

    until(all_renewed, "two renewals in each worker")
    took = time.monotonic() - began
    assert len(os.listdir(f"/proc/{program.process.pid}/task")) == 1
    assert server.stats("worker")["token_requests"] <= most_requests(3, took)
    program.stop()
    assert "Traceback" not in program.output()
