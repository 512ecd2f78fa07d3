"""Files and an environment for the tests of configurations."""

import tempfile
import textwrap
from pathlib import Path

import pytest
from kit.guards import OF_THE_LIBRARY, remove_variables

GENERIC = """\
oauth2:
  provider_name: api
  provider_type: generic
  client_id: worker
  client_secret: ${API_SECRET}
  token_url: https://id.example.com/token
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Set the one variable that the examples use, and unset all others that matter."""
    remove_variables(monkeypatch, *OF_THE_LIBRARY)
    monkeypatch.setenv("API_SECRET", "from-the-environment")
    return monkeypatch


@pytest.fixture
def write(tmp_path):
    """Write a file that only its owner can read, and return its path."""

    def write(text=GENERIC, name="tokens.yaml", mode=0o600, directory=tmp_path):
        path = directory / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def open_directory():
    """Return a directory that every user can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
