"""Authlib's server on Flask, started for each test."""

import pytest
from kit.servers.authlib_on_flask import AuthlibOnFlask


@pytest.fixture
def server():
    """Return Authlib's server, started for this test."""
    with AuthlibOnFlask() as server:
        yield server
