"""Workers that leave because they are idle, just when there is a new job."""

import threading

import pytest

from tokenkeeper._runtime import workers as workers_module
from tokenkeeper._runtime.workers import Workers


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    """Let workers leave as soon as they are idle."""
    monkeypatch.setattr(workers_module, "IDLE_SECONDS", 0.0)


@pytest.mark.parametrize("limit", [1, 3])
def test_no_job_is_left_lying(kit, limit):
    """Each job finds a worker, although others leave, one job at a time or several."""
    workers = Workers(limit)

    def hand_in():
        for number in range(1000):
            done = threading.Event()
            workers.submit(done.set, urgent=bool(number % 2))
            assert done.wait(kit.GUARD_SECONDS), f"job {number} was left lying"

    for crowd in (kit.crowd(1, hand_in), kit.crowd(4, hand_in)):
        assert crowd.join() == [None] * len(crowd.threads)
    kit.until(lambda: not workers._threads, "the end of all workers")
    assert workers._idle == 0
    assert not workers._jobs
    workers.close(timeout=1.0)


def test_no_token_is_left_waiting(kit, make_keeper):
    """Each renewal is run by a worker, although all of them end in between."""
    source = kit.Source()
    keeper = make_keeper(source)

    def force():
        for _ in range(300):
            keeper.get_token("api", force_refresh=True, timeout=kit.GUARD_SECONDS)

    assert kit.crowd(4, force).join() == [None] * 4
    assert source.overlaps == 0
