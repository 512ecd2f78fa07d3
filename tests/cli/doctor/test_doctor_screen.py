"""The rows of ``tokenkeeper doctor`` for skipped steps, as people read them."""

import pytest

from tokenkeeper.cli.doctor_screen import Screen
from tokenkeeper.doctor.findings import Report, Step, ok, skipped
from tokenkeeper.doctor.targets import Target


def skipped_rows(text):
    """Return the printed rows of skipped steps, with single blanks."""
    return [" ".join(row.split()) for row in text.splitlines() if row.startswith("  skipped")]


def test_steps_after_a_failure_are_one_row(run, describe, server):
    """The steps after the one that failed share one row, and the reason is printed once."""
    describe()
    server.stop()
    result = run("doctor")
    assert result.exit_code == Step.TCP
    assert skipped_rows(result.stdout) == [
        "skipped not tried, as TCP failed: TLS, clock, metadata, token request, lifetime, scope"
    ]
    assert result.stdout.count("not tried") == 1
    *_, last, sign_in, verdict = result.stdout.rstrip().splitlines()
    assert last.startswith("  skipped")
    assert sign_in.split() == ["ok", "sign-in", "client_credentials", "needs", "none"]
    assert verdict == "oauth2: TCP failed"


def test_a_step_alone_keeps_its_row(run, describe):
    """A step that alone is skipped for a reason has its name in the usual column."""
    describe()
    result = run("doctor")
    assert result.exit_code == 0
    assert skipped_rows(result.stdout) == [
        "skipped TLS not used: plain http, which is allowed on loopback"
    ]


@pytest.fixture
def printed(environment, capsys):
    """Return a function that shows reports, and returns the printed rows."""

    def printed(*reports):
        with Screen() as screen:
            for step, *findings in reports:
                screen.show(Report(step, tuple(findings)))
            screen.end(Target("api", None, Report(Step.VARIABLES, ())), [])
        *rows, verdict = capsys.readouterr().out.rstrip().splitlines()
        assert verdict == "api: ok"
        return [" ".join(row.split()) for row in rows]

    return printed


A, B = skipped("reason a"), skipped("reason b")
ROWS = {
    "one reason": (
        [(Step.DNS, A), (Step.TCP, A), (Step.TLS, A)],
        ["skipped reason a: DNS, TCP, TLS"],
    ),
    "two reasons": (
        [(Step.DNS, A), (Step.TCP, A), (Step.TLS, B), (Step.CLOCK, B)],
        ["skipped reason a: DNS, TCP", "skipped reason b: TLS, clock"],
    ),
    "one reason, with another one between": (
        [(Step.DNS, A), (Step.TCP, B), (Step.TLS, A)],
        ["skipped DNS reason a", "skipped TCP reason b", "skipped TLS reason a"],
    ),
    "a step that is not skipped between": (
        [(Step.DNS, A), (Step.TCP, A), (Step.TLS, ok("fine")), (Step.CLOCK, A)],
        ["skipped reason a: DNS, TCP", "ok TLS fine", "skipped clock reason a"],
    ),
    "a step with a second finding": (
        [(Step.DNS, A), (Step.TCP, A, ok("fine")), (Step.TLS, A)],
        ["skipped DNS reason a", "skipped TCP reason a", "ok fine", "skipped TLS reason a"],
    ),
    "none": ([(Step.DNS, ok("fine"))], ["ok DNS fine"]),
}


@pytest.mark.parametrize("row", ROWS)
def test_rows(printed, row):
    """Neighbours that were skipped for one reason share a row; the order of the steps stays."""
    reports, expected = ROWS[row]
    assert printed(*reports) == expected
