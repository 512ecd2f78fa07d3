"""What the page about logging shows: all loggers, and lines as they are really written."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tokenkeeper

PACKAGE = Path(tokenkeeper.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "logging.md").read_text(encoding="utf-8")
BLOCK = r"((?:(?!```).*\n)*)```"
SHOWN = re.findall(rf"^```python\n{BLOCK}\n\n```text\n{BLOCK}$", PAGE, re.MULTILINE)


def test_each_logger_is_listed():
    """The table lists the loggers that the package has, and no others."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    loggers = set(re.findall(r'getLogger\("(tokenkeeper\.[\w.]+)"\)', text))
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`(tokenkeeper\.[\w.]+)`", table)) == loggers


@pytest.mark.parametrize(("program", "lines"), SHOWN)
def test_lines(program, lines):
    """An example writes the lines that the page shows below it; "..." is any text."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    for line in lines.splitlines():
        assert re.search(re.escape(line).replace(r"\.\.\.", ".*"), done.stderr), done.stderr
