"""What the demo counts, and how it shows it."""

import io
import sys
import threading
from dataclasses import replace

import pytest

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.cli.demo import screen
from tokenkeeper.cli.demo.load import Load
from tokenkeeper.cli.demo.story import Moment, Plan, Report
from tokenkeeper.cli.demo.tally import Tally, quantiles, summary
from tokenkeeper.testing import LoopbackAuthorizationServer, MockProvider, ServerStats

PLAN = Plan(seconds=15, threads=1, tasks=2, lifetime_seconds=6)


def moment(**changes):
    """Return a moment at which all is well."""
    tally = Tally(calls=1234, first_wait=0.0123, slowest_wait=0.00004)
    fields = {
        "elapsed_seconds": 15.0,
        "endpoint_is_up": True,
        "renewals": 4,
        "callers": summary([tally]),
        "server": ServerStats(token_requests=9, max_concurrent_token_requests=1),
        **changes,
    }
    return Moment(**fields)


def report(end, **changes):
    """Return a report of a run in which all was well."""
    fields = {
        "interrupted": False,
        "outage_began": 6.0,
        "outage_seconds": 1.5,
        "outage_requests": 4,
        "median_wait": 0.0000012,
        "p99_wait": 1.5,
        **changes,
    }
    return Report(PLAN, end, **fields)


def test_a_tally_tells_the_first_wait_from_the_others():
    """The wait for a token that nobody had is no wait of a warm read."""
    tally = Tally()
    for wait in (5.0, 0.1, 0.3, 0.2):
        tally.waited(wait)
    assert tally.first_wait == 5.0
    assert list(tally.waits) == [0.1, 0.3, 0.2]
    assert summary([tally, Tally()]).slowest_wait == 0.3
    assert quantiles([tally, Tally()], 0.5, 0.99, 1.0) == [0.2, 0.3, 0.3]
    assert quantiles([Tally()], 0.5) == [0.0]


def test_a_tally_tells_refusals_from_failures():
    """A 401 is a refusal, any other answer but 200 a failure with a reason."""
    tally = Tally()
    for status in (200, 401, 500):
        tally.answered(status)
    assert (tally.calls, tally.refused, tally.failed) == (3, 1, 1)
    assert summary([Tally(), tally]).problem == "the API answered 500"


def test_a_good_run_has_no_problems():
    """Where all was well the report says so."""
    told = screen.words(report(moment()))
    assert "1 thread and 2 tasks called the API 1,234 times; none of the calls was refused" in told
    assert "From second 6.0 on" in told
    assert "took 12.3 ms" in told
    assert "1.2 us (median), 1.50 s (99 of 100 calls), 40.0 us (slowest)" in told
    assert told.splitlines()[-1].startswith("As promised")


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (report(moment(renewals=0)), "no token was renewed"),
        (report(moment(), outage_requests=0), "no renewal met the outage"),
        (report(moment(), outage_began=None), "no renewal met the outage"),
        (
            report(moment(server=ServerStats(max_concurrent_token_requests=2))),
            "2 token requests were under way at once",
        ),
        (
            report(moment(server=ServerStats(api_refused={"expired": 2, "unknown": 1}))),
            "the API refused 3 calls (2 expired, 1 unknown); 2 calls were made with a dead token",
        ),
        (
            report(moment(callers=summary([Tally(refused=1)]))),
            "the API refused 1 calls",
        ),
        (
            report(moment(callers=summary([Tally(failed=3, problem="bad luck")]))),
            "3 calls failed, for example by bad luck",
        ),
    ],
)
def test_each_broken_promise_is_a_problem(bad, problem):
    """Whatever was not as promised is said in the last line."""
    assert problem in screen.words(bad).splitlines()[-1]
    assert not bad.as_dict()["ok"]


def test_an_interrupted_run_owes_no_renewal():
    """A run that was cut short is neither good nor bad for what it did not come to."""
    cut = report(moment(renewals=0), interrupted=True, outage_began=None)
    assert cut.problems == []
    assert screen.words(cut).splitlines()[-1].startswith("Interrupted")
    assert cut.as_dict()["outage"]["began_seconds"] is None


def test_a_terminal_gets_a_live_table(monkeypatch):
    """On a terminal the table is drawn anew with each moment."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    with screen.onlooker(PLAN, as_json=False) as watch:
        watch(moment())
        watch(replace(moment(), endpoint_is_up=False))
    shown = terminal.getvalue()
    assert "1,234" in shown
    assert "DOWN" in shown
    assert "\x1b[" in shown


def test_a_dumb_terminal_gets_plain_lines(monkeypatch, capsys):
    """A terminal that can't move its cursor is no terminal for a live table."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with screen.onlooker(PLAN, as_json=False) as watch:
        for elapsed in (0.0, 1.0, 2.0, 2.5):
            watch(moment(elapsed_seconds=elapsed, endpoint_is_up=elapsed < 2.5))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(" ")]
    assert [line[:7] for line in lines] == ["  0.0 s", "  2.0 s", "  2.5 s"]


def test_callers_survive_what_goes_wrong():
    """A caller without a token, or without an answer, notes that down and goes on."""
    provider = MockProvider("demo", script=[TokenAcquisitionError("not today")])
    with (
        LoopbackAuthorizationServer() as gone,
        TokenKeeper(cooldown_seconds=0) as keeper,
    ):
        keeper.add_provider(provider)
        gone.stop()
        load = Load(keeper, gone.api_url, threads=1, tasks=1)
        load.start()
        pause = threading.Event()
        while not all(tally.failed and tally.first_wait for tally in load.tallies):
            pause.wait(0.01)
        load.stop()
    assert not any(tally.calls for tally in load.tallies)
