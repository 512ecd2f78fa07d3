"""The gate between forks and blocks of code that a child must not inherit half done."""

import os
import threading

import pytest
from kit.crowds import in_thread
from kit.guards import GUARD_SECONDS, until
from kit.processes import exit_code_of

from tokenkeeper._runtime import fork_gate
from tokenkeeper._runtime.fork_gate import FORK_GATE, ForkGate

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


@pytest.fixture
def gate():
    """Return a gate that no fork uses."""
    return ForkGate()


def in_block(gate):
    """Enter a block on a thread; return the thread, and the event that ends the block."""
    entered, leave = threading.Event(), threading.Event()

    def run():
        with gate.entered():
            entered.set()
            leave.wait(GUARD_SECONDS)

    thread, _ = in_thread(run)
    assert entered.wait(GUARD_SECONDS)
    return thread, leave


def test_blocks_run_side_by_side(gate):
    """Two threads are in a block at the same time."""
    blocks = [in_block(gate) for _ in range(2)]
    for thread, leave in blocks:
        leave.set()
        thread.join()


def test_a_fork_waits_for_blocks(gate):
    """A fork begins once no thread is in a block, and blocks begin once it is done."""
    block, leave = in_block(gate)
    fork, _ = in_thread(gate.before_fork)
    until(lambda: gate._is_forking)
    assert fork.is_alive()
    leave.set()
    fork.join(GUARD_SECONDS)
    block.join(GUARD_SECONDS)
    assert not fork.is_alive()
    entered = threading.Event()

    def enter():
        with gate.entered():
            entered.set()

    late, _ = in_thread(enter)
    assert not entered.is_set()
    gate.after_fork_in_parent()
    late.join(GUARD_SECONDS)
    assert entered.is_set()


def test_a_block_that_does_not_end(gate, monkeypatch):
    """A fork goes ahead after a while, in spite of a block that hangs."""
    monkeypatch.setattr(fork_gate, "LONGEST_WAIT_SECONDS", 0.01)
    thread, leave = in_block(gate)
    gate.before_fork()
    gate.after_fork_in_parent()
    leave.set()
    thread.join()


@pytest.mark.slow
def test_a_child_has_an_open_gate(monkeypatch):
    """A child enters blocks, even if it was forked inside one; then its parent does as well."""
    monkeypatch.setattr(fork_gate, "LONGEST_WAIT_SECONDS", 0.01)

    def child():
        with FORK_GATE.entered():
            pass
        return FORK_GATE._running

    with FORK_GATE.entered():
        assert exit_code_of(child) == 0
    assert FORK_GATE._running == 0
    assert not FORK_GATE._is_forking
