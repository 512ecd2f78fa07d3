"""A keeper that is watched."""

import pytest
from events.watching import Watcher


@pytest.fixture
def watcher(keeper):
    """Return a hook of the keeper."""
    watcher = Watcher()
    keeper.add_hook(watcher)
    return watcher
