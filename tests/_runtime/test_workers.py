"""The elastic pool of daemon threads."""

import gc
import queue
import threading
import weakref
from functools import partial

import pytest

from tokenkeeper._runtime import workers as workers_module
from tokenkeeper._runtime.workers import Workers


@pytest.fixture
def workers():
    workers = Workers(limit=3)
    yield workers
    workers.close(timeout=5)


def test_jobs_run_side_by_side(workers):
    """As many jobs as the limit allows run at once."""
    together = threading.Barrier(4)
    for _ in range(3):
        workers.submit(lambda: together.wait(10))
    together.wait(10)


def test_jobs_beyond_the_limit_wait_their_turn(workers):
    """There are no more threads than the limit, and every job is run."""
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

    for name in ("a", "b", "c"):
        workers.submit(lambda name=name: finish(name))
    assert len(workers._threads) == 3
    gate.set()
    assert all_done.wait(10)
    assert sorted(done) == ["a", "b", "c"]


def test_urgent_jobs_come_first():
    """A free thread runs the urgent jobs first, and then the others, each in their order."""
    workers, gate, entered = Workers(limit=1), threading.Event(), threading.Event()
    done, all_done = [], threading.Event()
    workers.submit(lambda: (entered.set(), gate.wait(10)))
    assert entered.wait(10)
    for name, urgent in (("d", False), ("a", True), ("e", False), ("b", True), ("c", True)):
        workers.submit(partial(done.append, name), urgent=urgent)
    workers.submit(all_done.set, urgent=False)
    gate.set()
    assert all_done.wait(10)
    assert done == ["a", "b", "c", "d", "e"]
    workers.close(timeout=5)


def _thread_of_a_job(workers):
    """Return the thread that ran a job, once it waits for the next one or has ended."""
    threads = queue.SimpleQueue()
    workers.submit(lambda: threads.put(threading.current_thread()))
    thread = threads.get(timeout=10)
    pause = threading.Event()
    for _ in range(5000):
        if workers._idle or not thread.is_alive():
            return thread
        pause.wait(0.002)
    pytest.fail("the thread neither idles nor leaves")


def test_an_idle_thread_is_used_again(workers):
    """One job after the other is run on one thread."""
    assert len({_thread_of_a_job(workers) for _ in range(5)}) == 1


def test_threads_leave_when_idle(workers, monkeypatch):
    """A thread ends after its idle time, and another one runs the next job."""
    idles = []

    class Calls(queue.SimpleQueue):
        def get(self, timeout):
            idles.append(timeout)
            if len(idles) == 3:  # no job arrived in time
                raise queue.Empty
            return super().get(timeout=10)

    monkeypatch.setattr(workers, "_calls", Calls())
    first, again = _thread_of_a_job(workers), _thread_of_a_job(workers)
    assert first is again
    first.join(10)
    assert not first.is_alive()
    assert idles == [workers_module.IDLE_SECONDS] * 3
    assert not workers._threads
    assert workers._idle == 0
    another = _thread_of_a_job(workers)
    assert another is not first
    assert workers._threads == {another}
    workers.close(timeout=5)  # while the thread and close() use the same queue


def test_a_job_that_arrives_as_the_thread_leaves(workers, monkeypatch):
    """A thread whose wait ended looks once more, so a job that arrived meanwhile is run."""
    done, late = threading.Event(), [lambda: done.set()]

    class Calls(queue.SimpleQueue):
        def get(self, timeout):
            if workers._threads and late and self.empty():
                workers.submit(late.pop())  # right after the wait has ended
                raise queue.Empty
            return super().get(timeout=timeout)

    monkeypatch.setattr(workers, "_calls", Calls())
    workers.submit(lambda: None)
    assert done.wait(10)
    assert len(workers._threads) == 1
    workers.close(timeout=5)


def test_a_failed_job_affects_no_other(workers, caplog):
    """A failed job is logged, whatever it raised, and the next one is run."""
    done = threading.Event()

    def leave():
        raise SystemExit

    workers.submit(leave)
    workers.submit(done.set)
    assert done.wait(10)
    workers.close(timeout=10)
    assert "SystemExit" in caplog.text


def test_an_idle_thread_holds_no_job():
    """The objects of a job can be collected while its thread waits for the next one."""

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


@pytest.mark.parametrize("finish", [False, True])
def test_closed_workers_take_no_job(finish):
    """A closed pool takes no jobs; jobs in the queue are dropped, or run if requested."""
    workers, gate, entered, done = Workers(limit=1), threading.Event(), threading.Event(), []
    workers.submit(lambda: (entered.set(), gate.wait(10)))
    assert entered.wait(10)
    (thread,) = workers._threads
    workers.submit(lambda: done.append("urgent"))
    workers.submit(lambda: done.append("other"), urgent=False)
    workers.close(timeout=0, finish=finish)
    with pytest.raises(RuntimeError):
        workers.submit(lambda: done.append("late"))
    gate.set()
    thread.join(10)
    assert not thread.is_alive()
    assert done == (["urgent", "other"] if finish else [])


def test_close_ends_idle_threads_at_once(workers):
    """An idle thread has ended when close() returns, long before its idle time."""
    thread = _thread_of_a_job(workers)
    workers.close(timeout=8)
    assert not thread.is_alive()


def test_close_from_a_worker(workers):
    """A job may close the pool that it runs in."""
    done = threading.Event()

    def close():
        workers.close(timeout=10)
        done.set()

    workers.submit(close)
    assert done.wait(10)


def test_a_host_without_threads(workers, monkeypatch):
    """If no thread can be started, the job is refused and not kept."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        workers.submit(lambda: None)
    assert not workers._urgent


def test_a_host_that_runs_out_of_threads(workers, monkeypatch):
    """If no further thread can be started, the job waits for an existing one."""
    gate, entered, done = threading.Event(), threading.Event(), threading.Event()
    workers.submit(lambda: (entered.set(), gate.wait(10)))
    assert entered.wait(10)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    workers.submit(done.set)
    gate.set()
    assert done.wait(10)
