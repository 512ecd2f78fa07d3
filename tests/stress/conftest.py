"""Fixtures of the stress tests: keepers that are closed at the end, and programs."""

import itertools
import sys
from contextlib import suppress

import pytest
from kit.crowds import Crowd, crowd, held_by_another_thread
from kit.guards import GUARD_SECONDS, library_threads, until
from kit.internals import flight as flight_of
from kit.internals import tasks_waiting, threads_waiting
from kit.processes import Child, Script
from kit.providers import AsyncWatchedSource as AsyncSource
from kit.providers import WatchedSource as Source
from kit.providers import ticks

from tokenkeeper import TokenKeeper

__all__ = [
    "GUARD_SECONDS",
    "AsyncSource",
    "Child",
    "Crowd",
    "Script",
    "Source",
    "crowd",
    "flight_of",
    "held_by_another_thread",
    "library_threads",
    "tasks_waiting",
    "threads_waiting",
    "ticks",
    "until",
]


@pytest.fixture
def kit():
    """Return this module, whose names are the helpers of the stress tests."""
    return sys.modules[__name__]


@pytest.fixture
def make_keeper():
    """Return a function that makes keepers, which are closed at the end."""
    made = []

    def make(*providers, **options):
        keeper = TokenKeeper(**options)
        made.append((keeper, providers))
        for provider in providers:
            keeper.add_provider(provider)
        return keeper

    yield make
    for keeper, providers in made:
        for provider in providers:
            with suppress(AttributeError):
                provider.gate.set()
        keeper.close()


@pytest.fixture
def make_script(tmp_path):
    """Return a function that starts Python programs."""
    numbers = itertools.count()

    def make(text, *options):
        return Script(tmp_path / f"program_{next(numbers)}.py", text, *options)

    return make
