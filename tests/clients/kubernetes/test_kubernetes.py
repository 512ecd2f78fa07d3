"""kubernetes against an API server that asks the authorization server about each token."""

import asyncio
import json

import pytest
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.bearer_api import BearerApi
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.integrations.kubernetes import KeeperApiClient, configure

CROWD = 12
POD = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web-1"}}
EVENT = json.dumps({"type": "ADDED", "object": POD}).encode() + b"\n"
PODS = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [POD]}


@pytest.fixture
def api_server(server):
    """Return an API server with one pod, which can also be created and watched."""

    def reply(request):
        if request.method == "POST":
            return Answer(201, POD)
        return Answer(200, EVENT if "watch=" in request.target else PODS)

    with BearerApi(server.is_alive, reply) as api:
        yield api


@pytest.fixture
def configuration(api_server):
    return client.Configuration(host=api_server.origin)


def names(api):
    return [pod.metadata.name for pod in client.CoreV1Api(api).list_namespaced_pod("default").items]


def test_a_crowd_recovers_with_one_renewal(
    server, source, api_server, configuration, crowd, requests_of
):
    """Threads that share a client recover from a revocation with one renewal."""
    with KeeperApiClient(source, configuration) as api:
        assert crowd(CROWD, lambda: names(api)) == [["web-1"]] * CROWD
        server.revoke_all()
        assert crowd(CROWD, lambda: names(api)) == [["web-1"]] * CROWD
    assert requests_of() == 2
    assert 1 <= api_server.refused <= CROWD


def test_a_body_is_sent_again(server, source, api_server, configuration):
    """A request with a body is sent again as it was."""
    with KeeperApiClient(source, configuration) as api:
        source.get_token()
        server.revoke_all()
        created = client.CoreV1Api(api).create_namespaced_pod("default", POD)
    assert created.metadata.name == "web-1"
    first, second = (request.body for request in api_server.received)
    assert first == second


def test_a_watch_begins_again(server, source, configuration):
    """A watch whose token is rejected begins with a new one."""
    with KeeperApiClient(source, configuration) as api:
        source.get_token()
        server.revoke_all()
        pods = client.CoreV1Api(api)
        events = watch.Watch().stream(pods.list_namespaced_pod, "default", timeout_seconds=1)
        assert next(events)["object"].metadata.name == "web-1"
        events.close()


def test_a_second_401_is_raised(source, api_server, configuration, requests_of):
    """If the new token is rejected too, the caller gets the 401, after a few requests at most."""
    api_server.is_alive = lambda token: False
    with KeeperApiClient(source, configuration) as api:
        for _ in range(10):
            with pytest.raises(ApiException) as caught:
                names(api)
            assert caught.value.status == 401
    assert requests_of() <= 5


def test_a_token_of_the_caller_is_not_replaced(source, api_server, configuration, requests_of):
    """The 401 of a request with another token is the caller's, and our token is not sent."""
    headers = {"authorization": "Bearer theirs"}
    with KeeperApiClient(source, configuration) as api:
        pool = api.rest_client.pool_manager
        assert pool.request("GET", api_server.origin, headers=headers).status == 401
    assert [request.bearer for request in api_server.received] == ["theirs"]
    assert requests_of() == 0


def test_a_plain_client_stays_rejected(server, source, api_server, configuration, requests_of):
    """An ``ApiClient`` asks for each request, but reports no 401: the token stays in use."""
    configure(configuration, source)
    with client.ApiClient(configuration) as api:
        assert names(api) == ["web-1"]
        source.get_token(force_refresh=True)
        assert names(api) == ["web-1"]
        server.revoke_all()
        for _ in range(2):
            with pytest.raises(ApiException):
                names(api)
        assert requests_of() == 2
        source.renew_refused(source())
        assert names(api) == ["web-1"]


def test_a_hook_alone_is_not_called(source, configuration, requests_of):
    """Without an entry in ``api_key``, which ``configure`` adds, no token is sent."""
    configuration.refresh_api_key_hook = lambda configuration: source.get_token()
    with client.ApiClient(configuration) as api, pytest.raises(ApiException):
        names(api)
    assert requests_of() == 0


def test_an_outage_goes_unnoticed_while_the_token_is_valid(server, source, configuration):
    """An outage reaches callers after a 401 only."""
    with KeeperApiClient(source, configuration) as api:
        names(api)
        with server.outage():
            assert names(api) == ["web-1"]
            server.revoke_all()
            with pytest.raises(TokenAcquisitionError):
                names(api)


def test_the_configuration_of_the_caller_is_unchanged(source, configuration):
    """The client copies its configuration, and a copy of that shares the source."""
    with KeeperApiClient(source, configuration) as api:
        copied = KeeperApiClient(source, api.configuration)
        assert names(copied) == names(api)
        copied.close()
    assert configuration.api_key == {}
    assert configuration.refresh_api_key_hook is None


def test_an_async_client_recovers_with_a_middleware(
    server, source, api_server, crowd_of_tasks, requests_of, monkeypatch
):
    """``kubernetes.aio`` takes the middleware of aiohttp, and a crowd of tasks recovers."""
    aio = pytest.importorskip("kubernetes.aio", reason="older than its async client")
    monkeypatch.setenv("KUBERNETES_URL", api_server.origin)

    configuration = example("kubernetes_async").configuration

    async def use():
        async with aio.client.ApiClient(configuration(source)) as api:
            pods = aio.client.CoreV1Api(api)

            async def list_pods():
                return len((await pods.list_namespaced_pod("default")).items)

            assert await crowd_of_tasks(CROWD, list_pods) == [1] * CROWD
            server.revoke_all()
            return await crowd_of_tasks(CROWD, list_pods)

    assert asyncio.run(use()) == [1] * CROWD
    assert requests_of() == 2


def test_the_example(api_server, run_example):
    """The program of the page lists the pods."""
    assert run_example("kubernetes", KUBERNETES_URL=api_server.origin) == "web-1\n"


def test_the_async_example(api_server, run_example):
    """The async program of the page lists the pods."""
    pytest.importorskip("kubernetes.aio", reason="older than its async client")
    assert run_example("kubernetes_async", KUBERNETES_URL=api_server.origin) == "web-1\n"
