"""``tokenkeeper doctor`` on the Azure provider, with a stand-in for Entra ID."""

import json

import pytest
from kit.servers.entra import CLIENT_ID, TENANT, Entra
from kit.servers.entra import SECRET as ENTRA_SECRET

from tokenkeeper.doctor.findings import Step


class TestEntra:
    """The Azure provider with a stand-in for Entra ID."""

    @pytest.fixture
    def entra(self, environment, tmp_path):
        """Return a running stand-in, with its client described in the environment."""
        with Entra(tmp_path) as entra:
            environment.setenv("AZURE_CLIENT_ID", CLIENT_ID)
            environment.setenv("AZURE_CLIENT_SECRET", ENTRA_SECRET)
            environment.setenv("AZURE_TENANT_ID", TENANT)
            environment.setenv("AZURE_AUTHORITY_HOST", entra.authority)
            environment.setenv("REQUESTS_CA_BUNDLE", entra.ca_file)
            yield entra

    def test_a_good_one(self, entra, examine):
        """Entra's metadata is found at the authority, and msal gets the token."""
        code, seen = examine()
        assert code == 0, seen
        assert f"{entra.authority}/{TENANT}/v2.0/.well-known" in seen["metadata"].text
        assert f"token endpoint {entra.authority}/{TENANT}/oauth2/v2.0" in seen["metadata"].text
        assert "AZURE_AUTHORITY_HOST is set" in seen["variables"].text
        assert seen["scope"].text == "all granted: https://graph.microsoft.com/.default"
        assert len(entra.requests) == 1

    def test_an_unknown_tenant(self, entra, examine, environment):
        """An unknown tenant fails the metadata step, with the meaning of Entra's error number."""
        environment.setenv("AZURE_TENANT_ID", "nobody.example")
        code, seen = examine()
        assert code == Step.METADATA
        assert "AADSTS90002" in seen["metadata"].text
        assert "The tenant does not exist. Check tenant_id" in seen["metadata"].advice
        assert seen.skipped_after(Step.METADATA)
        assert not entra.requests

    def test_allowed_tenants(self, entra, run, environment):
        """The tenants that sources may name are shown, and none of them is asked."""
        environment.setenv("AZURE_ALLOWED_TENANTS", "contoso.example fabrikam.example")
        result = run("doctor", "--json")
        assert result.exit_code == 0
        (provider,) = json.loads(result.stdout)["providers"]
        assert provider["description"]["allowed_tenants"] == ["contoso.example", "fabrikam.example"]
        assert "contoso.example, fabrikam.example" in run("doctor").stdout.replace("\n", " ")
        assert {each.tenant for each in entra.requests} == {TENANT}

    def test_a_wrong_secret(self, entra, run, environment):
        """A wrong secret is recognized by Entra's error number, after one request."""
        environment.setenv("AZURE_CLIENT_SECRET", "its-id-instead")
        result = run("doctor", "--json")
        assert result.exit_code == Step.CREDENTIALS
        assert "its-id-instead" not in result.output
        (provider,) = json.loads(result.stdout)["providers"]
        step = next(s for s in provider["steps"] if s["step"] == "credentials")
        assert "Set the secret's value, not its id" in step["findings"][0]["text"]
        assert len(entra.requests) == 1

    def test_a_scope_that_entra_does_not_name(self, entra, run):
        """Entra's response names no scope, which means that the requested one was granted."""
        assert "all granted" in run("doctor", "azure").stdout
