"""A stand-in for Entra ID behind real TLS."""

import pytest
from kit.servers.entra import Entra


@pytest.fixture
def entra(tmp_path):
    """Start the stand-in for Entra ID."""
    with Entra(tmp_path) as entra:
        yield entra
