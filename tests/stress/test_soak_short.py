"""The soak test in about 15 seconds, and its judges, which notice each violation."""

import logging
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from kit.processes import PATH
from soak.board import Board, Judge
from soak.clock import SteppedWall
from soak.play import Play, Sizes
from soak.report import Report
from soak.stalls import Stalls
from soak.tally import Tally, total
from soak.truth import Truth, boot
from soak.watch import Watch

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.testing import SteppedClock

LIFETIME = 3.0


@pytest.fixture
def quiet_log():
    """Keep thousands of warnings about outages out of pytest's memory."""
    log = logging.getLogger("tokenkeeper")
    before = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(before)


@pytest.fixture
def watch():
    return Watch(LIFETIME, SteppedWall())


@pytest.fixture
def board(watch):
    return Board({"api": watch}, lambda token, handed_out: None)


@pytest.fixture
def judge(board):
    return Judge(board, Tally(), sample=1)


def token_that(*, expires_in, name="api"):
    ends = boot() + expires_in
    return Truth(name, 1, ends - LIFETIME, ends).as_token()


def grant(watch, token):
    with watch.request() as granted:
        granted(token)


@pytest.mark.timeout(240)
def test_a_short_soak_breaks_no_claim(quiet_log):
    """No fault causes an expired token, a needless error or a needless request."""
    report = Report(Play(Sizes.short(seed=1)).run())
    assert not report.broken, report.examples


def test_a_dead_token_is_seen(judge):
    """A token that expired before the call began counts; one that expired during it is doubtful."""
    began = boot()
    judge.got("api", None, token_that(expires_in=-0.1), began, began)
    assert judge.tally.counts == {"an expired token": 1}
    judge.got("api", None, token_that(expires_in=0.1), began, began + 0.2)
    assert judge.tally.counts == {"an expired token": 1, "in doubt": 1}


def test_a_token_of_somebody_else_is_seen(judge):
    """A token of another provider, and one that the server did not grant, are noticed."""
    for token in (token_that(expires_in=1, name="other"), "bad~1"):
        judge.got("api", None, token, boot(), boot())
    assert judge.tally.counts == {"an unknown token": 2}


def test_a_refused_token_is_seen(judge, board):
    """A token that was rejected before the call began must not be handed out again."""
    token = token_that(expires_in=1)
    judge.got("api", None, token, boot(), boot())
    board.ban(token)
    judge.got("api", judge.knows("api"), token, boot(), boot())
    assert judge.tally.counts == {"a refused token": 1}


def test_an_error_counts_only_while_a_valid_token_exists(judge, watch):
    """An error counts if a token that was cached before the call was valid throughout the call."""
    token = token_that(expires_in=LIFETIME)
    grant(watch, token)
    judge.got("api", None, token, boot(), boot())
    known, error = judge.knows("api"), TokenAcquisitionError("503", status_code=503)
    judge.failed("api", known, error, boot(), known.usable_until + 0.01)
    assert judge.tally.errors == {"TokenAcquisitionError: HTTP 503": 1}
    judge.failed("api", known, error, boot(), known.usable_until - 0.01)
    judge.failed("api", None, ZeroDivisionError(), boot(), boot())
    assert judge.tally.counts == {"an error with a valid token": 1, "a foreign error": 1}


def test_requests_that_overlap_are_seen(watch):
    """Two requests of one provider at the same time are noticed."""
    with watch.request(), watch.request():
        pass
    assert watch.books["overlapping"] == 1


def test_a_needless_request_is_seen(watch, monkeypatch):
    """A request soon after a grant is needless, unless it was forced or the clock was set."""
    clock = SteppedClock()
    for module in ("soak.watch", "soak.clock"):
        monkeypatch.setattr(f"{module}.boot", clock.monotonic)
    grant(watch, "first")
    clock.step(0.3)
    watch.ask()
    clock.step(0.3)
    grant(watch, "asked for")
    assert (watch.books["early"], watch.books["needless"]) == (1, 0)
    clock.step(0.6)
    grant(watch, "needless")
    assert (watch.books["early"], watch.books["needless"]) == (2, 1)
    watch.clock.step(3600)
    clock.step(0.6)
    grant(watch, "after a step")
    assert (watch.books["early"], watch.books["needless"]) == (2, 1)
    clock.step(1.0)
    grant(watch, "due")
    assert (watch.books["early"], watch.books["needless"]) == (2, 1)
    for seconds, needless in ((3600, 1), (-3600, 2)):  # forward, as if the machine had been paused
        clock.step(0.3)
        watch.clock.step(seconds)
        clock.step(0.3)
        grant(watch, "after a step that came later")
        assert watch.books["needless"] == needless


def test_a_request_beside_a_stall_is_not_needless(watch, monkeypatch):
    """A request is not judged by our later reading of the clock if the machine stalled before it.

    A stall that came earlier or later doesn't count.
    """
    clock = SteppedClock()
    monkeypatch.setattr("soak.watch.boot", clock.monotonic)
    for starts, ends, needless in ((-0.5, -0.01, 0), (-2.0, -1.0, 1), (0.1, 0.5, 1)):
        clock.step(100)
        grant(watch, "first")
        granted_at = clock.monotonic()
        watch.stalls.note(granted_at + starts, granted_at + ends)
        clock.step(0.55)
        watch.books["needless"] = 0
        grant(watch, "early")
        assert watch.books["needless"] == needless


def test_moments_before_stalls():
    """A stall doesn't count as time that passed, whether the moment is after it or in it."""
    stalls = Stalls()
    assert stalls.earlier(100.0, 2.0) == 98.0
    stalls.note(50.0, 51.0)
    stalls.note(97.0, 99.0)
    assert stalls.earlier(100.0, 0.5) == 99.5
    assert stalls.earlier(100.0, 2.0) == 96.0
    assert stalls.earlier(98.0, 2.0) == 95.0
    assert stalls.earlier(100.0, 49.0) == 48.0
    assert stalls.earlier(-math.inf, 2.0) == -math.inf


def test_a_stopped_process_notices_it():
    """A process that is stopped for a while finds a stall of that length."""
    program = """
import sys
from soak.stalls import Stalls

stalls = Stalls()
stalls.start()
print("ready", flush=True)
sys.stdin.readline()
stalls.stop()
print(*(ended - began for began, ended in stalls._stalls))
"""
    command = [sys.executable, "-c", program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": PATH}, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.6)  # a stop is one by its length
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate("end\n")
    assert max(map(float, output.split())) >= 0.5


def test_a_step_of_the_clock_is_noted_before_it_shows():
    """A reader that sees a step of the clock, or a child forked during it, finds it noted."""
    noted = []

    class Observed(SteppedWall):
        def __setattr__(self, name, value):
            if name == "offset" and value:
                noted.append(self.was_set_forward(began, boot()))
            super().__setattr__(name, value)

    began = boot()
    clock = Observed()
    clock.step(3600)
    ended = boot()
    assert noted == [True]
    assert clock.was_set_forward(began, boot())
    assert not clock.was_set_forward(ended, boot())


def test_tallies_add_up():
    """The tallies of threads and children are added into one, with the quantiles of all."""
    tallies = [Tally() for _ in range(2)]
    for tally, seconds in zip(tallies, (0.001, 0.1), strict=True):
        for _ in range(50):
            tally.waits.note(seconds)
        tally.accuse("something", "words")
    together = total(tallies)
    assert together.waits.count == 100
    assert together.waits.quantile(0.4) == pytest.approx(0.001, rel=0.07)
    assert together.waits.quantile(0.99) == pytest.approx(0.1, rel=0.07)
    assert together.waits.longest == 0.1
    assert together.counts["something"] == len(together.examples) == 2


def test_the_outages_come_in_turn():
    """Each site has short and long outages of all kinds, with breaks between them."""
    moods = Sizes().moods
    for site in range(moods.sites):
        seen = {moods.outage_at(site, second / 10) for second in range(3000)} - {None}
        assert {length for _, length, _ in seen} == {"short", "long"}
        assert len({mode for _, _, mode in seen}) == 4
    assert moods.outage_at(0, 0.0) is None
