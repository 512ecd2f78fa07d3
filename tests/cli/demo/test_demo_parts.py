"""The parts of the demo: what it counts, how it shows that, and the naive client."""

import asyncio
import io
import re
import sys
import threading
from dataclasses import replace

import click
import pytest
import requests

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.cli.demo import screen
from tokenkeeper.cli.demo.clients import NaiveClient, keeper_client
from tokenkeeper.cli.demo.descriptors import ensure_descriptors
from tokenkeeper.cli.demo.load import Load
from tokenkeeper.cli.demo.outage import Outage
from tokenkeeper.cli.demo.report import Plan, Report, Side, Snapshot
from tokenkeeper.cli.demo.summary import summary_text
from tokenkeeper.cli.demo.tally import Tally, quantiles, summary
from tokenkeeper.testing import (
    LoopbackAuthorizationServer,
    MockProvider,
    ServerStats,
    SteppedClock,
)

PLAN = Plan(seconds=15, threads=1, tasks=2, lifetime_seconds=6)


def side(tally=None, **stats):
    """Return one side of the comparison."""
    stats = {"token_requests": 9, "max_concurrent_token_requests": 1, **stats}
    tally = tally or Tally(
        attempts=1235, calls=1234, first_wait=0.0123, slowest_wait=0.00004, slowest_call=0.05
    )
    return Side(summary([tally]), ServerStats(**stats))


def naive_side():
    """Return a naive side with 17 calls without a token and 3 refused ones."""
    tally = Tally(attempts=1200, calls=1183, failed=17, refused=3, slowest_call=1.25)
    return side(tally, token_requests=464, max_concurrent_token_requests=232)


def snapshot(**changes):
    """Return a snapshot in which the keeper kept its promises."""
    fields = {
        "elapsed_seconds": 15.0,
        "endpoint_is_up": True,
        "renewals": 4,
        "keeper": side(),
        "naive": naive_side(),
        **changes,
    }
    return Snapshot(**fields)


def report(end, **changes):
    """Return a report of a run without problems."""
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


def test_the_first_wait_is_kept_apart():
    """The wait for the first token, which has to be requested, does not count as a cached read."""
    tally = Tally()
    for wait in (5.0, 0.1, 0.3, 0.2):
        tally.got_token(wait)
    assert tally.first_wait == 5.0
    assert list(tally.waits) == [0.1, 0.3, 0.2]
    assert summary([tally, Tally()]).slowest_wait == 0.3
    assert quantiles([tally, Tally()], 0.5, 0.99, 1.0) == [0.2, 0.3, 0.3]
    assert quantiles([Tally()], 0.5) == [0.0]


def test_the_slowest_call_is_not_the_first():
    """A caller's first call, which opens connections, counts as a call and not as the slowest."""
    tally = Tally()
    for seconds in (9.0, 0.2, 0.4, 0.3):
        tally.finish_call(seconds)
    both = summary([tally, Tally()])
    assert (both.attempts, both.slowest_call) == (4, 0.4)


def test_refusals_are_not_failures():
    """A 401 counts as a refusal, any other status but 200 as a failure with a reason."""
    tally = Tally()
    for status in (200, 401, 500):
        tally.answered(status)
    assert (tally.calls, tally.refused, tally.failed) == (3, 1, 1)
    assert summary([Tally(), tally]).problem == "the API answered 500"


def test_a_good_run_has_no_problems():
    """The summary of a run without problems says so."""
    text = summary_text(report(snapshot()))
    assert "1 thread and 2 tasks made 1,234 API calls in 15 s; none was refused" in text
    assert "down for 1.5 s from second 6.0 on" in text
    assert "took 12.3 ms" in text
    assert "1.2 us (median), 1.50 s (p99), 40.0 us (slowest)" in text
    assert text.splitlines()[-1].startswith("As promised")


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        (0, "The first token took 12.3 ms."),
        (2, "The first token, requested by 3 callers at once, took 12.3 ms."),
    ],
    ids=["one caller", "several"],
)
def test_who_asked_for_the_first_token(tasks, sentence):
    """A crowd at the start is worth mentioning; one caller is not a crowd."""
    plan = replace(PLAN, tasks=tasks)
    assert sentence in summary_text(replace(report(snapshot()), plan=plan)).splitlines()


def test_the_summary_compares_the_two_sides():
    """The summary counts requests, failed calls and the slowest call of both sides alike."""
    lines = summary_text(report(snapshot())).splitlines()
    assert (
        "Naive clients: 464 token requests, 20 of 1,200 calls failed, the slowest took 1.25 s."
    ) in lines
    assert (
        "Tokenkeeper: 9 token requests, 0 of 1,235 calls failed, the slowest took 50.0 ms."
    ) in lines
    assert "Naive" not in summary_text(report(snapshot()), compare=False)


def test_the_report_has_the_naive_side():
    """The JSON report counts the naive side beside the keeper's, and judges only the latter."""
    seen = report(snapshot()).as_dict()
    assert seen["ok"]
    assert seen["naive_client"] == {
        "calls": 1183,
        "calls_refused": 3,
        "calls_failed": 17,
        "dead_tokens": 0,
        "token_requests": 464,
        "token_requests_at_once": 232,
        "slowest_call_ms": 1250.0,
        "slowest_get_token_ms": 0.0,
    }
    assert seen["slowest_call_ms"] == 50.0


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (report(snapshot(renewals=0)), "no token was renewed"),
        (report(snapshot(), outage_requests=0), "no renewal met the outage"),
        (report(snapshot(), outage_began=None), "no renewal met the outage"),
        (
            report(snapshot(keeper=side(max_concurrent_token_requests=2))),
            "2 token requests were in flight at once",
        ),
        (
            report(snapshot(keeper=side(api_refused={"expired": 2, "unknown": 1}))),
            "refused 3 calls (2 expired, 1 unknown); 2 calls were made with an expired token",
        ),
        (
            report(snapshot(keeper=side(Tally(refused=1)))),
            "the API refused 1 calls",
        ),
        (
            report(snapshot(keeper=side(Tally(failed=3, problem="bad luck")))),
            "3 calls failed, for example with bad luck",
        ),
    ],
)
def test_each_broken_promise_is_a_problem(bad, problem):
    """The last line of the summary names each broken promise."""
    assert problem in summary_text(bad).splitlines()[-1]
    assert not bad.as_dict()["ok"]


def test_an_interrupted_run_owes_no_renewal():
    """A run that was interrupted has no problem for what it did not get to."""
    cut = report(snapshot(renewals=0), interrupted=True, outage_began=None)
    assert cut.problems == []
    assert summary_text(cut).splitlines()[-1].startswith("Interrupted")
    assert cut.as_dict()["outage"]["began_seconds"] is None


def open_terminal(monkeypatch):
    """Return a terminal in place of standard output; what was written is its value."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    return terminal


def test_a_terminal_gets_a_live_table(monkeypatch):
    """On a terminal the table is redrawn for each snapshot."""
    terminal = open_terminal(monkeypatch)
    with screen.live_view(PLAN, as_json=False) as show:
        show(snapshot())
        show(replace(snapshot(), endpoint_is_up=False))
    shown = terminal.getvalue()
    assert "1,235" in shown
    assert "DOWN" in shown
    assert "\x1b[" in shown


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_table_fits_narrow_terminals(monkeypatch, columns):
    """Both sides are shown in full, in 40 columns as well."""
    terminal = open_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    with screen.live_view(PLAN, as_json=False) as show:
        show(snapshot())
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    for text in ("Tokenkeeper", "naive client", "1,235", "1,200", "464", "1.25 s", "50.0 ms"):
        assert text in shown
    assert all(len(line) <= columns for line in shown.splitlines())


def test_a_dumb_terminal_gets_plain_lines(monkeypatch, capsys):
    """A terminal that cannot move its cursor gets lines every few seconds, not a live table."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    with screen.live_view(PLAN, as_json=False) as show:
        for elapsed in (0.0, 1.0, 2.0, 2.5):
            show(snapshot(elapsed_seconds=elapsed, endpoint_is_up=elapsed < 2.5))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(" ")]
    assert [line[:7] for line in lines[::3]] == ["  0.0 s", "  2.0 s", "  2.5 s"]
    assert lines[1].split(":")[1].strip() == "9 token requests, 0 of 1,235 calls failed"
    assert lines[2].split(":")[1].strip() == "464 token requests, 20 of 1,200 calls failed"


def test_callers_survive_what_goes_wrong():
    """A caller without a token, or without an answer, records that and goes on."""
    provider = MockProvider("demo", script=[TokenAcquisitionError("not today")])
    with (
        LoopbackAuthorizationServer() as gone,
        TokenKeeper(cooldown_seconds=0) as keeper,
    ):
        keeper.add_provider(provider)
        gone.stop()
        client = keeper_client(keeper)
        load = Load(lambda: client, gone.api_url, threads=1, tasks=1)
        load.start()
        pause = threading.Event()
        while not all(tally.failed and tally.first_wait for tally in load.tallies):
            pause.wait(0.01)
        load.stop()
        load.join()
    assert not any(tally.calls for tally in load.tallies)
    assert all(tally.attempts for tally in load.tallies)


class TestNaiveClient:
    """The client that the keeper is compared with."""

    @pytest.fixture
    def clock(self):
        """Return a clock for the client and its server."""
        return SteppedClock()

    @pytest.fixture
    def server(self, clock):
        """Return a server whose tokens live a minute."""
        with LoopbackAuthorizationServer(lifetime_seconds=60, clock=clock) as server:
            yield server

    @pytest.fixture(params=["thread", "task"])
    def get_token(self, request, server, clock):
        """Return a function that asks a naive client for its token, from a thread or a task."""
        client = NaiveClient(server.config(), clock)
        if request.param == "thread":
            return client.get_token
        return lambda: asyncio.run(client.get_token_async())

    def test_it_keeps_its_token(self, get_token, server, clock):
        """It requests a token once, and again when a sixtieth of its lifetime is left."""
        first = get_token()
        clock.step(58.9)
        assert get_token() == first
        clock.step(0.1)
        assert get_token() != first
        assert server.stats().token_requests == 2

    def test_an_outage_is_an_error_of_the_call(self, get_token, server):
        """It raises if the request fails, and the next call requests a token again."""
        with server.outage("503"), pytest.raises(requests.HTTPError, match="503"):
            get_token()
        assert get_token()
        assert server.stats().token_requests == 2

    def test_each_caller_has_a_client_of_its_own(self, server, clock):
        """Two clients request two tokens: that is the herd which the demo counts."""
        assert len({NaiveClient(server.config(), clock).get_token() for _ in range(2)}) == 2


def test_both_servers_are_down_together():
    """The outage begins and ends for both sides at the same moments."""
    plan = Plan(seconds=10, threads=1, tasks=0, lifetime_seconds=6)
    with LoopbackAuthorizationServer() as server, LoopbackAuthorizationServer() as naive:
        outage = Outage(plan, server, [naive])

        def states():
            return outage.is_on, server.down, naive.down

        outage.update(3.4)
        assert states() == (False, None, None)
        outage.update(3.5)
        assert states() == (True, "503", "503")
        with pytest.raises(requests.HTTPError):
            NaiveClient(server.config()).get_token()  # the keeper's request, as the server sees it
        outage.update(5.0)
        outage.update(5.0 + plan.outage_seconds - 0.1)
        assert states() == (True, "503", "503")
        outage.update(5.0 + plan.outage_seconds)
        assert states() == (False, None, None)
        assert outage.refused == 1
        assert not outage.is_survived()
        NaiveClient(server.config()).get_token()
        assert outage.is_survived()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
class TestDescriptors:
    """Room for the connections of many callers."""

    @pytest.fixture
    def limits(self, monkeypatch):
        """Return the limits that the process seems to have; a new one is recorded."""
        import resource

        limits = {"now": (256, 4096)}

        def setrlimit(_, wanted):
            if wanted[0] > wanted[1]:
                raise ValueError("not allowed to raise maximum limit")
            limits["now"] = wanted

        monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
        monkeypatch.setattr(resource, "setrlimit", setrlimit)
        return limits

    def test_a_low_limit_is_raised(self, limits):
        """A soft limit below what the callers need is raised to that."""
        ensure_descriptors(Plan(threads=100, tasks=100))
        assert limits["now"] == (1264, 4096)

    def test_a_limit_that_suffices_stays(self, limits):
        """A soft limit that suffices is not lowered."""
        ensure_descriptors(Plan(threads=1, tasks=1))
        assert limits["now"] == (256, 4096)

    def test_too_many_callers_are_refused(self, limits):
        """More callers than the hard limit permits are a usage error that says what to do."""
        with pytest.raises(click.UsageError, match=r"needs 6,064 open files.*--tasks to less"):
            ensure_descriptors(Plan(threads=0, tasks=1000))
        assert limits["now"] == (256, 4096)
