"""pymongo against a server that asks the authorization server about each token."""

import asyncio
from contextlib import suppress

import pytest
from kit.guards import ticks_during
from kit.servers.mongo import MongoServer
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import OperationFailure

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.integrations.pymongo import KeeperOIDCCallback

CROWD = 12


@pytest.fixture
def mongo(server):
    with MongoServer(server.is_alive) as mongo:
        yield mongo


def client_of(mongo, callback, kind=MongoClient):
    return kind(
        mongo.uri,
        authMechanism="MONGODB-OIDC",
        authMechanismProperties={"OIDC_CALLBACK": callback},
        directConnection=True,
    )


def ping(client):
    return client.admin.command("ping")["ok"]


def test_a_crowd_recovers_with_one_renewal(server, mongo, source, crowd, requests_of):
    """Threads whose connections and new ones are rejected recover with one renewal."""
    with client_of(mongo, KeeperOIDCCallback(source)) as client:
        assert crowd(CROWD, lambda: ping(client)) == [1.0] * CROWD
        server.revoke_all()
        assert crowd(CROWD, lambda: ping(client)) == [1.0] * CROWD
    assert requests_of() == 2


def test_a_crowd_of_tasks_recovers_with_one_renewal(
    server, mongo, source, crowd_of_tasks, requests_of
):
    """Tasks recover with one renewal, which does not block the event loop."""

    async def ping_all(client):
        async def ping():
            return (await client.admin.command("ping"))["ok"]

        return await crowd_of_tasks(CROWD, ping)

    async def use():
        async with client_of(mongo, KeeperOIDCCallback(source), AsyncMongoClient) as client:
            assert await ping_all(client) == [1.0] * CROWD
            server.revoke_all()
            server.latency_seconds = 1.0
            results, ticks = await ticks_during(ping_all(client))
            assert results == [1.0] * CROWD
            assert ticks > 10

    asyncio.run(use())
    assert requests_of() == 2


def test_a_token_that_the_keeper_renewed_is_not_renewed_again(server, mongo, source, requests_of):
    """A client whose token expired gets the keeper's current one, without a request."""
    with client_of(mongo, KeeperOIDCCallback(source)) as client:
        ping(client)
        server.revoke_all()
        current = source.get_token(force_refresh=True)
        assert ping(client) == 1.0
    assert mongo.tokens[-1] == current
    assert requests_of() == 2


def test_a_server_that_rejects_every_token_is_quoted(mongo, source, requests_of):
    """Callers get the server's own error, and the authorization server a few requests at most."""
    mongo.is_alive = lambda token: False
    with client_of(mongo, KeeperOIDCCallback(source)) as client:
        for _ in range(6):
            with pytest.raises(OperationFailure) as caught:
                ping(client)
            assert caught.value.code == 18
    assert requests_of() <= 5


def test_an_outage_goes_unnoticed_while_the_token_is_valid(server, mongo, source):
    """An outage reaches callers once the server has rejected the token; then they recover."""
    with client_of(mongo, KeeperOIDCCallback(source)) as client:
        ping(client)
        with server.outage():
            assert ping(client) == 1.0
            server.revoke_all()
            with pytest.raises(TokenAcquisitionError):
                ping(client)
        with suppress(TokenAcquisitionError):  # during the pause between two attempts
            source.get_token(force_refresh=True)
        assert ping(client) == 1.0


def test_the_example(mongo, run_example):
    """The program of the page prints the server's answer to a ping."""
    assert run_example("pymongo", MONGODB_URI=mongo.uri) == "1.0\n"


def test_no_token_is_shown(mongo, source):
    """The representation of a callback contains no token."""
    callback = KeeperOIDCCallback(source)
    with client_of(mongo, callback) as client:
        ping(client)
    assert source() not in repr(callback) + repr(vars(callback))
