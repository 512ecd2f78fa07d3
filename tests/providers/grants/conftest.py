"""A security token service on loopback, and keepers with its providers."""

from contextlib import ExitStack

import pytest
from kit.servers.exchange import TokenService

from tokenkeeper import TokenKeeper


@pytest.fixture
def service():
    """Start the service."""
    with TokenService() as service:
        yield service


@pytest.fixture
def keeper_of(service):
    """Return a function that makes a keeper with the providers, given as names and grants."""
    with ExitStack() as stack:

        def make(providers, **options):
            keeper = stack.enter_context(TokenKeeper(**options))
            for name, grant in providers.items():
                keeper.add_provider(service.provider(name, grant))
            return keeper

        yield make
