"""The cookbook's page on msgraph-sdk, with a stub of Graph over TLS."""

import asyncio

import pytest
from kiota_abstractions.api_error import APIError
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.guarded import Guarded, certificate_in
from msgraph import GraphServiceClient

from tokenkeeper.integrations.azure import AsyncKeeperCredential

# The generated classes warn of themselves while they are imported.
ITS_OWN = (
    "ignore:GetQueryParameters is deprecated:DeprecationWarning",
    "ignore:This class is deprecated:DeprecationWarning",
)
pytestmark = [pytest.mark.filterwarnings(each) for each in ITS_OWN]


class Graph(Guarded):
    """A stub that knows one user.

    :ivar challenge: the ``WWW-Authenticate`` of a 401.
    """

    challenge = 'Bearer realm="", error="invalid_token"'

    def granted(self, request):
        assert request.path == "/v1.0/users/ada%40contoso.example", request.path
        user = {"@odata.type": "#microsoft.graph.user", "displayName": "Ada"}
        return Answer(body=user)

    def refused(self, request):
        error = {"code": "InvalidAuthenticationToken", "message": "no"}
        return Answer(401, {"error": error}, {"WWW-Authenticate": self.challenge})


@pytest.fixture
def certificate(tmp_path):
    """Return the certificate of the stub."""
    return certificate_in(tmp_path)


@pytest.fixture
def graph(server, certificate, monkeypatch):
    """Return the stub; clients trust it."""
    with Graph(server.is_alive, tls=certificate.context, name="localhost") as graph:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.ca))
        monkeypatch.setenv("GRAPH_URL", f"{graph.origin}/v1.0")
        yield graph


async def name_of(client):
    """Return the name of the user, as the client reads it."""
    return (await client.users.by_user_id("ada@contoso.example").get()).display_name


async def closed(client):
    """Close the connections: kiota puts a transport of its own in front, which doesn't."""
    await client.request_adapter._http_client._transport.transport.aclose()


def test_a_crowd_recovers_with_one_renewal(server, source, graph, crowd_of_tasks, requests_of):
    """Tasks whose token was revoked share one renewal, and each reads the user."""

    async def main():
        client = example("msgraph_sdk").graph_client(source)
        assert await crowd_of_tasks(8, lambda: name_of(client)) == ["Ada"] * 8
        server.revoke_all()
        assert await crowd_of_tasks(8, lambda: name_of(client)) == ["Ada"] * 8
        await closed(client)

    asyncio.run(main())
    assert requests_of() == 2


@pytest.mark.parametrize(
    ("challenge", "recovers"),
    [
        ('Bearer error="invalid_token"', False),
        ('Bearer error="insufficient_claims", claims="eyJuYmYiOjF9"', True),
    ],
    ids=["another 401", "a claims challenge"],
)
def test_the_credential_recovers_from_a_claims_challenge_only(
    server, source, graph, requests_of, challenge, recovers
):
    """With a credential in place of the hook, Graph must challenge the client for claims."""
    graph.challenge = challenge

    async def main():
        client = GraphServiceClient(AsyncKeeperCredential(source))
        client.request_adapter.base_url = f"{graph.origin}/v1.0"
        assert await name_of(client) == "Ada"
        server.revoke_all()
        try:
            return await name_of(client)
        except APIError as error:
            return error.response_status_code
        finally:
            await closed(client)

    assert asyncio.run(main()) == ("Ada" if recovers else 401)
    assert requests_of() == (2 if recovers else 1)


def test_the_example_runs(run_example, graph, certificate):
    """The example reads the user."""
    variables = {"GRAPH_URL": f"{graph.origin}/v1.0", "SSL_CERT_FILE": certificate.ca}
    options = [f"-W{each}" for each in ITS_OWN]
    assert run_example("msgraph_sdk", *options, **variables) == "Ada\n"
