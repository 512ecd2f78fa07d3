"""The how-to page on the doctor, compared with the code."""

import re
from pathlib import Path

from tokenkeeper.doctor.findings import Step
from tokenkeeper.doctor.store_checks import STORE_EXIT_CODE

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "doctor.md"


def test_the_page_has_every_exit_code():
    """The table of the page lists each step with its exit code, in order."""
    page = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\w[\w -]*\w) \|", page, re.MULTILINE)
    assert rows[0][0] == "0"
    steps = [(step.value, step.label) for step in Step]
    codes = sorted([*steps, (STORE_EXIT_CODE, "store")])
    assert rows[1:] == [(str(code), label) for code, label in codes]


def test_the_example_shows_every_step(run, server, describe):
    """The example on the page has the same steps as the output of the command."""
    server.publish()
    describe()
    line = re.compile(r"^  [a-z]+ +([\w-]+(?: request)?) {2,}", re.MULTILINE)
    page = PAGE.read_text(encoding="utf-8").partition("\nstore  ")[0]
    shown = line.findall(page)
    printed = line.findall(run("doctor").stdout)
    assert set(shown) == set(printed) == {step.label for step in Step}
