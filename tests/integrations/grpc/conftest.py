"""A gRPC server, and a blocking channel to it whose calls renew refused tokens."""

import grpc
import pytest
from integrations.grpc.server import CALLS, GUARD_SECONDS, served, with_tokens_of

from tokenkeeper.integrations.grpc import RenewingInterceptor


@pytest.fixture
def things(api):
    """Return the server's handler, its address and the credentials that trust it."""
    with served(api) as server:
        yield server


@pytest.fixture
def without_renewal(things, keeper):
    """Return a channel with the plugin, but no interceptor."""
    _, address, trusted = things
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel:
        yield channel


@pytest.fixture
def channel(without_renewal, keeper):
    """Return a channel that has plugin and interceptor."""
    return grpc.intercept_channel(without_renewal, RenewingInterceptor(keeper, "api"))


@pytest.fixture(params=CALLS)
def call(request, channel):
    """Make a call of some kind."""

    def call(**options):
        return CALLS[request.param](channel, **{"timeout": GUARD_SECONDS, **options})

    return call


@pytest.fixture(params=["unary", "future", "answers"])
def one_request(request, channel):
    """Make a call with one request."""

    def one_request(**options):
        return CALLS[request.param](channel, **{"timeout": GUARD_SECONDS, **options})

    return one_request
