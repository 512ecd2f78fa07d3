"""The page on the doctor, and the help, beside the code that they speak of."""

import re
from pathlib import Path

from tokenkeeper.doctor.findings import Step

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "doctor.md"


def test_the_page_has_every_exit_code():
    """The table names each step with its code, in order."""
    rows = re.findall(r"^\| (\d+) \| (\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows[0][0] == "0"
    assert rows[1:] == [(str(step.value), step.label) for step in Step]


def test_the_example_shows_every_step(run, server, describe):
    """The example's lines begin as those of the command do."""
    server.publish()
    describe()
    shown = set(re.findall(r"^  \w+ +(\w+) {2,}", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    printed = re.findall(r"^  \w+ +(\w+) {2,}", run("doctor").stdout, re.MULTILINE)
    assert shown == set(printed) == {step.label for step in Step}
