"""Greenlets of a patched process get tokens like threads; a partial patch is refused."""

import json
import sys

import pytest
from kit.guards import PROGRAM_SECONDS

DELAY_SECONDS = 0.5


@pytest.fixture
def run(server, start):
    """Run the program in a process with this patch; return its report."""
    server.add_client("worker", "worker-secret", lifetime_seconds=3, delay_seconds=DELAY_SECONDS)

    def run(how):
        program = start("gevent_calls", how)
        assert program.process.wait(PROGRAM_SECONDS) == 0, program.output()
        # After a late patch, gevent prints messages at exit.
        (answer,) = [line for line in program.output().splitlines() if line.startswith("{")]
        return json.loads(answer)

    return run


def test_a_patched_process(run, server):
    """100 greenlets cause one request; renewals and async providers never block the hub."""
    report = run("whole")
    assert report["cold"] == report["own"] == report["insisting"] == 1
    assert report["statuses"] == [200]
    assert report["forked"] == 0
    assert report["longest_nap"] < DELAY_SECONDS / 2
    stats = server.stats("worker")
    assert stats["resource_refusals"] == 0
    assert stats["most_at_once"] <= 2  # one of them is the child's


def test_a_process_with_real_threads(run):
    """Greenlets over real threads get tokens as well; one that waits blocks the hub."""
    report = run("neither threads nor queues")
    assert report["statuses"] == [200]
    assert report["forked"] == 0


@pytest.mark.parametrize("how", ["no threads", "no queues"])
def test_half_a_patch(run, how):
    """A patch of threads without queues, or the reverse, would hang and is refused."""
    assert run(how)["refused"].endswith(
        "patch both or neither of them: patch_all(), or thread=False with queue=False"
    )


@pytest.mark.parametrize("how", ["late, after the import", "late, at a keeper's work"])
def test_a_late_patch(run, how):
    """A patch after the import is refused when a keeper is created and when one would wait."""
    assert run(how)["refused"].endswith(
        "call gevent.monkey.patch_all() before tokenkeeper is imported"
    )


def test_gevent_without_a_patch(run):
    """A program that imports gevent and patches nothing works as usual."""
    assert "gevent" not in sys.modules
    assert run("not at all")["statuses"] == [200]
