"""elasticsearch against an API that asks the authorization server about each token."""

import asyncio

import pytest
from elasticsearch import AuthenticationException, Elasticsearch
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.bearer_api import BearerApi

CROWD = 12
INFO = {"cluster_name": "billing", "version": {"number": "9.0.0"}}
PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


@pytest.fixture
def cluster(server, monkeypatch):
    """Return a cluster of one node, which the examples use."""
    with BearerApi(server.is_alive, lambda request: Answer(200, INFO, PRODUCT)) as cluster:
        monkeypatch.setenv("ELASTICSEARCH_URL", cluster.origin)
        yield cluster


def test_a_crowd_recovers_with_one_renewal(server, cluster, source, crowd, requests_of):
    """Threads that share a client recover from a revocation with one renewal."""
    with example("elasticsearch").client(source) as search:
        assert crowd(CROWD, lambda: search.info().body) == [INFO] * CROWD
        server.revoke_all()
        results = crowd(CROWD, lambda: search.index(index="invoices", document={"n": 1}).body)
    assert results == [INFO] * CROWD
    assert requests_of() == 2
    assert {request.body for request in cluster.received[CROWD:]} == {b'{"n":1}'}


def test_a_crowd_of_tasks_recovers_with_one_renewal(
    server, cluster, source, crowd_of_tasks, requests_of
):
    """Tasks that share an async client recover from a revocation with one renewal."""

    async def use():
        async with example("elasticsearch_async").client(source) as search:

            async def info():
                return (await search.info()).body

            assert await crowd_of_tasks(CROWD, info) == [INFO] * CROWD
            server.revoke_all()
            return await crowd_of_tasks(CROWD, info)

    assert asyncio.run(use()) == [INFO] * CROWD
    assert requests_of() == 2


def test_a_fixed_token_is_used_until_its_end(server, cluster, source, requests_of):
    """``bearer_auth`` takes a text, which the client never replaces."""
    with Elasticsearch(cluster.origin, bearer_auth=source()) as search:
        assert search.info().body == INFO
        server.revoke_all()
        source.get_token(force_refresh=True)
        with pytest.raises(AuthenticationException):
            search.info()
        with search.options(bearer_auth=source()) as renewed:
            assert renewed.info().body == INFO
    assert requests_of() == 2


@pytest.mark.parametrize("example", ["elasticsearch", "elasticsearch_async"])
def test_the_example(cluster, run_example, example):
    """The programs of the page print the cluster's name."""
    assert run_example(example, ELASTICSEARCH_URL=cluster.origin) == "billing\n"
