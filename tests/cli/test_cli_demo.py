"""``tokenkeeper demo``, short."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tokenkeeper import GenericOAuth2Provider
from tokenkeeper.cli.group import cli
from tokenkeeper.demo import screen, story
from tokenkeeper.testing import StaticProvider

SHORT = ("demo", "--seconds", "3", "--lifetime", "2", "--threads", "4", "--tasks", "8")
ENTRY_POINT = (sys.executable, "-W", "error", "-m", "tokenkeeper")


def run(*arguments):
    """Run the demo in this process."""
    return CliRunner().invoke(cli, arguments)


@pytest.mark.slow
def test_the_demo_through_its_entry_point():
    """A run with an outage in it is all well, and prints one JSON object and nothing else."""
    ended = subprocess.run(
        [*ENTRY_POINT, *SHORT, "--json"], capture_output=True, text=True, timeout=60
    )
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
    assert needed <= seen["token_requests"] <= needed + 1  # the end may cut a renewal in two


def test_plain_words_without_a_terminal():
    """Where there is no terminal, plain lines show the outage, and a summary ends it."""
    result = run(*SHORT)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("One keeper, 4 threads and 8 tasks")
    assert "token endpoint DOWN" in result.stdout
    assert "none of the calls was refused" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("As promised")
    assert "\x1b" not in result.stdout


class _TrustsTokensForTooLong(GenericOAuth2Provider):
    """Says that each token lives for an hour."""

    def acquire_token(self):
        token = super().acquire_token()
        return replace(token, expires_at=token.expires_at.replace(year=2999))


def test_dead_tokens_end_it_badly(monkeypatch):
    """A keeper that hands out tokens which have ended is found out."""
    monkeypatch.setattr(story, "make_provider", lambda config, _: _TrustsTokensForTooLong(config))
    result = run("demo", "--seconds", "2", "--lifetime", "1", "--threads", "2", "--tasks", "2")
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert last.startswith("NOT as promised")
    assert "calls were made with a dead token" in last
    assert "no token was renewed" in last


def test_refused_calls_end_it_badly(monkeypatch):
    """A token that the API does not know is found out, call by call."""
    monkeypatch.setattr(story, "make_provider", lambda *_: StaticProvider("demo", "made-up", 2))
    result = run("demo", "--seconds", "1.5", "--lifetime", "1", "--tasks", "0", "--json")
    assert result.exit_code == 1
    seen = json.loads(result.stdout)
    assert not seen["ok"]
    assert seen["calls_refused"] == seen["calls"] > 0
    assert any("unknown" in problem for problem in seen["problems"])


def test_failing_calls_end_it_badly(monkeypatch):
    """Callers that get no token are counted, with the reason, and go on."""

    def wrong_secret(config, session):
        return GenericOAuth2Provider(replace(config, client_secret="wrong"), session=session)

    monkeypatch.setattr(story, "make_provider", wrong_secret)
    result = run("demo", "--seconds", "1.5", "--lifetime", "1", "--threads", "1", "--tasks", "1")
    assert result.exit_code == 1
    last = result.stdout.splitlines()[-1]
    assert "calls failed" in last
    assert "invalid_client" in last


def test_an_interrupt_ends_it_with_a_report(monkeypatch):
    """Ctrl-C in the middle of the outage ends the run with what was seen up to then."""

    def interrupt(moment):
        if not moment.endpoint_is_up:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(screen, "_see_nothing", interrupt)
    result = run(*SHORT, "--json")
    assert result.exit_code == 130
    seen = json.loads(result.stdout)
    assert seen["interrupted"]
    assert seen["problems"] == []
    assert not seen["ok"]


def test_a_second_interrupt(monkeypatch):
    """Ctrl-C once more does what it did before the run: who is in a hurry needs no report."""
    hurried = []

    def interrupt_twice(moment):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(screen, "_see_nothing", interrupt_twice)
    before = signal.signal(signal.SIGINT, lambda number, _: hurried.append(number))
    try:
        result = run(*SHORT, "--json")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (result.exit_code, hurried) == (130, [signal.SIGINT])


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_ctrl_c_is_clean():
    """A real SIGINT leaves a summary, no traceback, and the status of an interrupted program."""
    with subprocess.Popen(
        [*ENTRY_POINT, "demo", "--threads", "2", "--tasks", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs tests in the background may have left it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as child:
        assert child.stdout.readline().startswith("One keeper")
        assert "token endpoint up" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        told, errors = child.communicate(timeout=30)
    assert errors == ""
    assert "Interrupted" in told
    assert child.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--threads", "0", "--tasks", "0"), "nobody"),
        (("--seconds", "8"), "at least 9"),
        (("--threads", "many"), "many"),
    ],
)
def test_plans_that_show_nothing_are_refused(arguments, problem):
    """A run that can't show a renewal, or has no callers, is a usage error."""
    result = run("demo", *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert result.stdout == ""
