"""The elastic pool of daemon threads."""

import gc
import threading
import weakref

import pytest

from tokenkeeper import workers as workers_module
from tokenkeeper.workers import Workers


@pytest.fixture
def workers():
    workers = Workers(limit=3)
    yield workers
    workers.close(timeout=5)


def test_jobs_run_side_by_side(workers):
    """As many jobs as the limit are under way at once."""
    together = threading.Barrier(4)
    for _ in range(3):
        workers.submit(lambda: together.wait(10))
    together.wait(10)


def test_jobs_beyond_the_limit_wait_their_turn(workers):
    """No more threads than the limit, and every job is done; urgent ones come first."""
    gate, done, all_done = threading.Event(), [], threading.Event()
    entered = threading.Semaphore(0)

    def hold():
        entered.release()
        gate.wait(10)

    for _ in range(3):
        workers.submit(hold)
    for _ in range(3):
        assert entered.acquire(timeout=10)

    def finish(name):
        done.append(name)
        if len(done) == 3:
            all_done.set()

    workers.submit(lambda: finish("b"), urgent=False)
    workers.submit(lambda: finish("c"), urgent=False)
    workers.submit(lambda: finish("a"))
    assert len(workers._threads) == 3
    gate.set()
    assert all_done.wait(10)
    assert sorted(done) == ["a", "b", "c"]


def test_an_idle_thread_is_used_again(workers):
    """One job after the other needs one thread."""
    for _ in range(5):
        done = threading.Event()
        workers.submit(done.set)
        assert done.wait(10)
    assert len(workers._threads) <= 3


def test_threads_leave_when_idle(monkeypatch):
    """A thread with nothing to do for a while ends."""
    monkeypatch.setattr(workers_module, "IDLE_SECONDS", 0.0)
    workers = Workers(limit=1)
    done = threading.Event()
    workers.submit(done.set)
    assert done.wait(10)
    for thread in list(workers._threads):
        thread.join(10)
    assert not workers._threads
    workers.close(timeout=0)


def test_a_job_that_raises_harms_no_other(workers, caplog):
    """A failed job is logged, whatever it raised, and the next one is done."""
    done = threading.Event()

    def leave():
        raise SystemExit

    workers.submit(leave)
    workers.submit(done.set)
    assert done.wait(10)
    workers.close(timeout=10)
    assert "SystemExit" in caplog.text


def test_an_idle_thread_holds_no_job():
    """What a job held can be collected while its thread waits for the next one."""

    class Big:
        pass

    class OneJob(Workers):
        def _next_job(self):
            if not hasattr(self, "big"):
                big = Big()
                self.big = weakref.ref(big)
                return lambda: big
            gc.collect()
            self.collected = self.big() is None
            return None

    workers = OneJob(limit=1)
    workers._work()
    assert workers.collected


def test_closed_workers_take_no_job(workers):
    """After close nothing is taken on; jobs not begun are dropped."""
    workers.close(timeout=1)
    with pytest.raises(RuntimeError):
        workers.submit(lambda: None)


def test_close_from_a_worker(workers):
    """A job may close the pool that it runs in."""
    done = threading.Event()

    def close():
        workers.close(timeout=10)
        done.set()

    workers.submit(close)
    assert done.wait(10)


def test_a_host_without_threads(workers, monkeypatch):
    """Where no thread can be started the job is refused, and not kept."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        workers.submit(lambda: None)
    assert not workers._urgent


def test_a_host_that_runs_out_of_threads(workers, monkeypatch):
    """Where no further thread can be started the job waits for one that is there."""
    gate, entered, done = threading.Event(), threading.Event(), threading.Event()
    workers.submit(lambda: (entered.set(), gate.wait(10)))
    assert entered.wait(10)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers.submit(done.set)
    gate.set()
    assert done.wait(10)
