"""``tokenkeeper demo``, in short runs."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tokenkeeper import GenericOAuth2Provider
from tokenkeeper.cli.demo import scenario, screen
from tokenkeeper.cli.group import cli
from tokenkeeper.testing import StaticProvider

SHORT = ("demo", "--seconds", "4.5", "--lifetime", "3", "--threads", "4", "--tasks", "8")
ENTRY_POINT = (sys.executable, "-W", "error", "-m", "tokenkeeper")


def run(*arguments):
    """Run the demo in this process."""
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(scope="module")
def complete():
    """Return the process of a run in which the outage also meets the naive clients' tokens."""
    # The outage begins at 2.9 s and lasts until 3.2 s at least; their tokens expire at 3 s.
    long = [*ENTRY_POINT, *SHORT, "--seconds", "8.2", "--json"]
    return subprocess.run(long, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_demo_through_its_entry_point(complete):
    """A run with an outage succeeds, and prints one JSON object and nothing else."""
    ended = complete
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    seen = json.loads(ended.stdout)
    assert seen["ok"]
    assert seen["problems"] == []
    assert seen["calls"] > 50
    assert seen["calls_refused"] == seen["calls_failed"] == seen["dead_tokens"] == 0
    assert seen["renewals"] >= 1
    assert seen["token_requests_at_once"] == 1
    assert seen["outage"]["token_requests"] >= 1
    needed = 1 + seen["renewals"] + seen["outage"]["token_requests"]
    assert needed <= seen["token_requests"] <= needed + 1  # the end may interrupt a renewal


@pytest.mark.slow
def test_the_naive_clients_have_the_same_load(complete):
    """The naive clients call the API as well, request a token each, and meet the same outage."""
    seen = json.loads(complete.stdout)
    naive = seen["naive_client"]
    assert naive["calls"] > 50
    assert naive["token_requests"] > 2 * (seen["threads"] + seen["tasks"])
    assert naive["calls_failed"] > 0 == seen["calls_failed"]
    assert naive["slowest_call_ms"] > 0 < seen["slowest_call_ms"]


def test_plain_words_without_a_terminal():
    """Without a terminal, plain lines show the outage and both sides, and a summary ends them."""
    result = run(*SHORT)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("One keeper serves 4 threads and 8 tasks")
    assert "naive client: " in result.stdout
    assert "Naive clients: " in result.stdout
    assert "token endpoint DOWN" in result.stdout
    assert "none was refused" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("As promised")
    assert "\x1b" not in result.stdout


class _TrustsTokensForTooLong(GenericOAuth2Provider):
    """Returns tokens that seem to live for centuries."""

    def acquire_token(self):
        token = super().acquire_token()
        return replace(token, expires_at=token.expires_at.replace(year=2999))


def test_expired_tokens_fail_it(monkeypatch):
    """A keeper that hands out expired tokens is reported, with status 1."""
    monkeypatch.setattr(
        scenario, "make_provider", lambda config, _: _TrustsTokensForTooLong(config)
    )
    result = run("demo", "--seconds", "2", "--lifetime", "1", "--threads", "2", "--tasks", "2")
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("NOT as promised")
    assert "calls were made with an expired token" in last
    assert "no token was renewed" in last


def test_refused_calls_fail_it(monkeypatch):
    """Each call that the API refuses is counted and reported."""
    monkeypatch.setattr(scenario, "make_provider", lambda *_: StaticProvider("demo", "made-up", 2))
    result = run("demo", "--seconds", "1.5", "--lifetime", "1", "--tasks", "0", "--json")
    assert result.exit_code == 1
    seen = json.loads(result.stdout)
    assert not seen["ok"]
    assert seen["calls_refused"] == seen["calls"] > 0
    assert any("unknown" in problem for problem in seen["problems"])


def test_failing_calls_fail_it(monkeypatch):
    """Callers that get no token are counted with the reason, and go on."""

    def wrong_secret(config, session):
        return GenericOAuth2Provider(replace(config, client_secret="wrong"), session=session)

    monkeypatch.setattr(scenario, "make_provider", wrong_secret)
    result = run("demo", "--seconds", "1.5", "--lifetime", "1", "--threads", "1", "--tasks", "1")
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert "calls failed" in last
    assert "invalid_client" in last


def test_an_interrupt_ends_it_with_a_report(monkeypatch):
    """Ctrl-C during the outage ends the run with a report of what was seen up to then."""

    def interrupt(snapshot):
        if not snapshot.endpoint_is_up:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(screen, "_show_nothing", interrupt)
    result = run(*SHORT, "--json")
    assert result.exit_code == 130
    seen = json.loads(result.stdout)
    assert seen["interrupted"]
    assert seen["problems"] == []
    assert not seen["ok"]


def test_a_second_interrupt(monkeypatch):
    """A second Ctrl-C does what it did before the run, for a user who is in a hurry."""
    received = []

    def interrupt_twice(snapshot):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(screen, "_show_nothing", interrupt_twice)
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        result = run(*SHORT, "--json")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, received) == (130, [signal.SIGINT])


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_is_clean():
    """A real SIGINT leads to a summary, no traceback, and the status of an interrupted program."""
    with subprocess.Popen(
        [*ENTRY_POINT, "demo", "--threads", "2", "--tasks", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background may have left it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as child:
        assert child.stdout.readline().startswith("One keeper")
        assert child.stdout.readline().startswith("The same number")
        assert child.stdout.readline() == "\n"
        assert "token endpoint up" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=30)
    assert errors == ""
    assert "Interrupted" in output
    assert child.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--threads", "0", "--tasks", "0"), "no callers"),
        (("--seconds", "8"), "at least 9"),
        (("--threads", "many"), "many"),
    ],
)
def test_plans_that_show_nothing_are_rejected(arguments, problem):
    """A run that is too short for a renewal, or has no callers, is a usage error."""
    result = run("demo", *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""
