"""A coverage-guided search for answers of a token endpoint that break the parser."""

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))

with atheris.instrument_imports(include=["tokenkeeper", "email", "json"]):
    from fuzz.oracle import check, read_case

atheris.enabled_hooks.add("RegEx")


def read_one(data):
    """Parse one answer. Anything but a valid token or a valid error is a finding."""
    check(read_case(data))


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_one)
    atheris.Fuzz()
