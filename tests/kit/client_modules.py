"""Which modules of ``tokenkeeper.integrations`` only the tests in ``tests/clients`` try."""

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
IMPORTED = re.compile(r"tokenkeeper\.integrations(?:\.| import )(\w+)")


def imported_in(folder):
    """Return the names of the modules that the tests of a folder import."""
    texts = (path.read_text(encoding="utf-8") for path in (TESTS / folder).rglob("*.py"))
    return {name for text in texts for name in IMPORTED.findall(text)}


TRIED_WITH_CLIENTS = imported_in("clients") - imported_in("integrations")
