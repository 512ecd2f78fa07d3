"""The cookbook's page on azure-identity, with a stand-in for Entra ID."""

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import ClientAssertionCredential, WorkloadIdentityCredential
from kit.guards import until
from kit.servers.entra import CLIENT_ID, TENANT, Entra, refusal

SCOPE = "https://storage.azure.com/.default"


class Federated(Entra):
    """Takes the tokens of another authorization server as a client's proof.

    :ivar is_alive: returns whether the other server's token is.
    """

    is_alive = None

    def _client_error(self, form, tenant):
        if not self.is_alive(form.get("client_assertion", "")):
            return refusal(401, "invalid_client", 700024, "Client assertion is not valid.")
        return None


@pytest.fixture
def entra(server, tmp_path, monkeypatch):
    """Return the stand-in; clients trust it."""
    with Federated(tmp_path) as entra:
        entra.is_alive = server.is_alive
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", entra.ca_file)
        yield entra


@pytest.fixture
def options(entra):
    """Return the options of a credential, which keeps no token in a shared cache."""
    return {"authority": entra.origin, "disable_instance_discovery": True, "retry_total": 0}


def test_a_callable_is_asked_at_each_request(server, source, entra, options, crowd, requests_of):
    """After a revocation the caller reports the token, and a crowd gets tokens by one renewal."""

    def token(scope="https://vault.azure.net/.default"):
        return credential.get_token(scope).token.startswith("entra-")

    with ClientAssertionCredential(TENANT, CLIENT_ID, source, **options) as credential:
        assert token(SCOPE)
        refused = source()
        server.revoke_all()
        assert token(SCOPE)  # Entra ID's own token is still valid
        with pytest.raises(ClientAuthenticationError, match="AADSTS700024"):
            token()
        crowd(8, lambda: source.renew_refused(refused))
        assert crowd(8, token) == [True] * 8
    assert requests_of() == 2


def test_a_file_is_read_every_ten_minutes(server, source, entra, options, tmp_path):
    """A workload identity keeps what it has read, even if Entra ID rejects it."""
    path = tmp_path / "federated"
    source.write_to(path)
    named = {"tenant_id": TENANT, "client_id": CLIENT_ID, "token_file_path": str(path)}
    with WorkloadIdentityCredential(**named, **options) as credential:
        assert credential.get_token(SCOPE).token == "entra-1"
        server.revoke_all()
        renewed = source.renew_refused(path.read_text())
        until(lambda: path.read_text() == renewed)
        with pytest.raises(ClientAuthenticationError, match="AADSTS700024"):
            credential.get_token("https://vault.azure.net/.default")
    with WorkloadIdentityCredential(**named, **options) as another:
        assert another.get_token(SCOPE).token


def test_the_example_runs(run_example, entra):
    """The example gets a token of Entra ID."""
    variables = {
        "ENTRA_URL": entra.origin,
        "ENTRA_TENANT": TENANT,
        "ENTRA_CLIENT": CLIENT_ID,
        "REQUESTS_CA_BUNDLE": entra.ca_file,
    }
    assert run_example("azure_identity", **variables) == "a token of Entra ID: True\n"
