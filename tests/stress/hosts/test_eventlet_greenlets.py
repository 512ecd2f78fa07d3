"""Greenlets of eventlet get tokens like threads; a late patch is refused."""

import importlib.util
import json

import pytest
from kit.guards import PROGRAM_SECONDS

# Not imported here, because it prints a warning at each later fork.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("eventlet") is None, reason="eventlet is not installed"
)


@pytest.fixture
def run(server, start):
    """Run the program in a process with this patch; return its report."""
    server.add_client("worker", "worker-secret", lifetime_seconds=3, delay_seconds=0.5)

    def run(how):
        program = start("eventlet_calls", how)
        program.process.wait(PROGRAM_SECONDS)
        # After a late patch, eventlet prints messages at exit.
        (answer,) = [line for line in program.output().splitlines() if line.startswith("{")]
        return json.loads(answer)

    return run


def test_a_patched_process(run, server):
    """100 greenlets cause one request, and a renewal does not block the hub.

    A busy machine may block it now and then, but not at each request.
    """
    report = run("early")
    assert report["cold"] == 1
    assert report["statuses"] == [200]
    assert report["long_naps"] < report["tokens"] / 2
    assert server.stats("worker")["resource_refusals"] == 0


@pytest.mark.parametrize("how", ["late, after the import", "late, at a keeper's work"])
def test_a_late_patch(run, how):
    """A patch after the import is refused when a keeper is created and when one would wait."""
    assert "call eventlet.monkey_patch() before tokenkeeper is imported" in run(how)["refused"]


def test_eventlet_without_a_patch(run):
    """A program that imports eventlet and patches nothing works as usual."""
    assert run("not at all")["statuses"] == [200]
