"""opensearch-py against an API that asks the authorization server about each token."""

import asyncio

import pytest
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.bearer_api import BearerApi
from opensearchpy import OpenSearch
from opensearchpy.exceptions import AuthenticationException

CROWD = 12
INFO = {"cluster_name": "billing", "version": {"number": "3.0.0", "distribution": "opensearch"}}


@pytest.fixture
def cluster(server, monkeypatch):
    """Return a cluster of one node, which the examples use."""
    with BearerApi(server.is_alive, lambda request: Answer(200, INFO)) as cluster:
        monkeypatch.setenv("OPENSEARCH_URL", cluster.origin)
        yield cluster


def test_a_crowd_recovers_with_one_renewal(server, cluster, source, crowd, requests_of):
    """Threads that share a client recover from a revocation with one renewal."""
    with example("opensearch").client(source) as search:
        assert crowd(CROWD, search.ping) == [True] * CROWD
        server.revoke_all()
        results = crowd(CROWD, lambda: search.index(index="invoices", body={"n": 1}))
    assert results == [INFO] * CROWD
    assert requests_of() == 2
    assert {request.body for request in cluster.received[CROWD:]} == {b'{"n":1}'}


def test_a_crowd_of_tasks_recovers_with_one_renewal(
    server, cluster, source, crowd_of_tasks, requests_of
):
    """Tasks that share an async client recover from a revocation with one renewal."""

    async def use():
        async with example("opensearch_async").client(source) as search:
            assert await crowd_of_tasks(CROWD, search.info) == [INFO] * CROWD
            server.revoke_all()
            return await crowd_of_tasks(CROWD, search.info)

    assert asyncio.run(use()) == [INFO] * CROWD
    assert requests_of() == 2


def test_a_function_never_hears_of_the_401(server, cluster, source, requests_of):
    """A callable as ``http_auth`` is asked for each request, and stays with a rejected token."""
    with OpenSearch(
        cluster.origin, http_auth=lambda method, url, _: source.headers(method, url)
    ) as s:
        assert s.info() == INFO
        server.revoke_all()
        for _ in range(2):
            with pytest.raises(AuthenticationException):
                s.info()
    assert requests_of() == 1


@pytest.mark.parametrize("example", ["opensearch", "opensearch_async"])
def test_the_example(cluster, run_example, example):
    """The programs of the page print the cluster's name."""
    assert run_example(example, OPENSEARCH_URL=cluster.origin) == "billing\n"
