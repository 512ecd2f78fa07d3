"""The cookbook's page on qdrant-client, with a stub of Qdrant over TLS."""

import pytest
from kit.loops import run
from kit.servers.base import Answer
from kit.servers.guarded import Guarded, certificate_in
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from tokenkeeper.integrations.httpx import KeeperAuth


class Qdrant(Guarded):
    """A stub with one collection."""

    def granted(self, request):
        assert request.path == "/collections", request.path
        result = {"collections": [{"name": "faces"}]}
        return Answer(body={"result": result, "status": "ok", "time": 0.001})


@pytest.fixture
def certificate(tmp_path):
    """Return the certificate of the stub."""
    return certificate_in(tmp_path)


@pytest.fixture
def url(server, certificate, monkeypatch):
    """Return the URL of the stub; clients trust it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
    with Qdrant(server.is_alive, tls=certificate.context, name="localhost") as qdrant:
        yield qdrant.origin


def names_in(answer):
    """Return the names of collections."""
    return [each.name for each in answer.collections]


def test_a_crowd_recovers_with_one_renewal(server, source, url, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    client = QdrantClient(url, auth=KeeperAuth(source), check_compatibility=False)

    def names():
        return names_in(client.get_collections())

    assert crowd(8, names) == [["faces"]] * 8
    server.revoke_all()
    assert crowd(8, names) == [["faces"]] * 8
    assert requests_of() == 2
    client.close()


def test_a_crowd_of_tasks_recovers_with_one_renewal(
    server, source, url, crowd_of_tasks, requests_of
):
    """Tasks of an async client share one renewal, and each gets its answer."""

    async def main():
        client = AsyncQdrantClient(url, auth=KeeperAuth(source), check_compatibility=False)

        async def names():
            return names_in(await client.get_collections())

        assert await crowd_of_tasks(8, names) == [["faces"]] * 8
        server.revoke_all()
        assert await crowd_of_tasks(8, names) == [["faces"]] * 8
        await client.close()

    run(main())
    assert requests_of() == 2


def test_a_token_provider_does_not_recover(server, source, url, requests_of):
    """auth_token_provider is asked before each request, and never hears of the 401."""
    client = QdrantClient(url, auth_token_provider=source, check_compatibility=False)
    assert names_in(client.get_collections()) == ["faces"]
    server.revoke_all()
    with pytest.raises(UnexpectedResponse):
        client.get_collections()
    source.renew_refused(source())  # what the caller can do
    assert names_in(client.get_collections()) == ["faces"]
    assert requests_of() == 2
    client.close()


def test_the_example_runs(run_example, url, certificate):
    """The example lists the collections."""
    variables = {"QDRANT_URL": url, "SSL_CERT_FILE": certificate.ca}
    assert run_example("qdrant_client", **variables) == "['faces']\n"
