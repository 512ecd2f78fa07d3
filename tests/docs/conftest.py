"""The documentation as a site, built once for all tests that need it."""

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Return the folder of the site, built with warnings as errors."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed: tox -e docs")
    folder = (tmp_path_factory.mktemp("site") / "html").resolve()
    command = ["-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-b", "html", DOCS, folder]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder
