"""Fixtures: a keeper with a hook that keeps its events."""

import pytest
from kit.watching import Watcher


@pytest.fixture
def watcher(keeper):
    """Return the keeper's watching hook."""
    watcher = Watcher()
    keeper.add_hook(watcher)
    return watcher
