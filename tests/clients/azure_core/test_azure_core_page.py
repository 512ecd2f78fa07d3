"""The cookbook's page on azure-core."""

import pytest
from azure.core import PipelineClient
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from kit.servers.guarded import Guarded, certificate_in

from tokenkeeper.integrations.azure import KeeperCredential
from tokenkeeper.integrations.azure_transport import RenewingTransport


@pytest.fixture
def certificate(tmp_path):
    """Return the certificate of the API."""
    return certificate_in(tmp_path)


@pytest.fixture
def api(server, certificate):
    """Return an API over TLS, without which azure-core sends no token."""
    with Guarded(server.is_alive, tls=certificate.context, name="localhost") as api:
        yield api


def test_the_example_runs(run_example, api, certificate):
    """The example calls the API."""
    url = f"{api.origin}/things"
    assert run_example("azure_core", API_URL=url, REQUESTS_CA_BUNDLE=certificate.ca) == (
        "200 /things\n"
    )


def statuses(client, api, crowd):
    """Return the statuses that a crowd gets."""

    def get():
        return client.send_request(HttpRequest("GET", f"{api.origin}/things")).status_code

    return crowd(8, get)


def test_a_crowd_recovers_with_one_renewal(server, source, api, certificate, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    policy = BearerTokenCredentialPolicy(KeeperCredential(source), "api/.default")
    below = RequestsTransport(connection_verify=str(certificate.ca))
    transport = RenewingTransport(source, transport=below)
    with PipelineClient(api.origin, policies=[policy], transport=transport) as client:
        assert statuses(client, api, crowd) == [200] * 8
        server.revoke_all()
        assert statuses(client, api, crowd) == [200] * 8
    assert requests_of() == 2


def test_the_credential_alone_does_not_recover(
    server, source, api, certificate, crowd, requests_of
):
    """Without the transport, a 401 without a claims challenge is the caller's."""
    policy = BearerTokenCredentialPolicy(KeeperCredential(source), "api/.default")
    below = RequestsTransport(connection_verify=str(certificate.ca))
    with PipelineClient(api.origin, policies=[policy], transport=below) as client:
        assert statuses(client, api, crowd) == [200] * 8
        server.revoke_all()
        assert statuses(client, api, crowd) == [401] * 8
    assert requests_of() == 1
