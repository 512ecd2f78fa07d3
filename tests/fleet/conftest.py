"""Engines for fleets."""

import pytest
from kit.fleets.engines import running_engine


@pytest.fixture
def engine(request):
    """Return the engine that the test is parametrized with, running."""
    with running_engine(request.param) as engine:
        yield engine
