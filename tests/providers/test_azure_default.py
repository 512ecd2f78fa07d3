"""The default chain of Azure: which credentials it tries, and what it says of each."""

import json
import re
import subprocess
import time

import pytest
from kit.servers.base import Answer
from kit.servers.entra import CLIENT_ID, SECRET, TENANT
from kit.servers.entra_assertions import Certificates
from kit.servers.managed_identity import VARIABLES, IdentityEndpoint

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError, TokenKeeper
from tokenkeeper.providers import azure_tools
from tokenkeeper.providers.azure_chain import CREDENTIALS
from tokenkeeper.providers.azure_default import AzureDefaultProvider

SCOPE = "https://storage.azure.com/.default"
STARTS = [
    "EnvironmentCredential: ",
    "WorkloadIdentityCredential: ",
    "ManagedIdentityCredential: ",
    "AzureCliCredential: Azure CLI is not installed",
    "AzurePowerShellCredential: Azure PowerShell is not installed",
    "AzureDeveloperCliCredential: Azure Developer CLI is not installed",
]
APPLICATION = {"AZURE_CLIENT_ID": CLIENT_ID, "AZURE_TENANT_ID": TENANT}


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    """Take all credentials out of the environment; return the tools that are installed."""
    tools = {}
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name in ("CLIENT_ID", "TENANT_ID", "CLIENT_SECRET", "CLIENT_CERTIFICATE_PATH"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    for name in ("FEDERATED_TOKEN_FILE", "TOKEN_CREDENTIALS", "AUTHORITY_HOST"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
    monkeypatch.setattr(azure_tools.shutil, "which", lambda name: name if name in tools else None)

    def run(command, **options):
        return subprocess.CompletedProcess(command, 0, json.dumps(tools[command[0]]).encode(), b"")

    monkeypatch.setattr(azure_tools.subprocess, "run", run)
    return tools


@pytest.fixture
def environment(monkeypatch, entra):
    """Return a function that sets variables, for applications in the stand-in for Entra ID."""
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", entra.authority)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", entra.ca_file)

    def environment(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return environment


@pytest.fixture
def endpoint(monkeypatch):
    """Return the metadata service of a virtual machine."""
    with IdentityEndpoint() as endpoint:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", endpoint.origin)
        yield endpoint


def acquired(**options):
    return AzureDefaultProvider("azure", SCOPE, **options).acquire_token().access_token


def printed(token):
    return {"accessToken": token, "token": token, "expires_on": int(time.time()) + 3600}


def test_no_credential():
    """The error says of each credential why it is not available, in the order of the search."""
    with pytest.raises(TokenAcquisitionError) as caught:
        acquired()
    message = str(caught.value)
    assert message.startswith("provider 'azure': this process has no credential for Azure. Tried ")
    places = [message.index(start) for start in STARTS]
    assert places == sorted(places)
    assert "AZURE_CLIENT_ID and AZURE_TENANT_ID and AZURE_CLIENT_SECRET are not set" in message
    assert "127.0.0.1" in message
    assert "\n" not in message
    assert not caught.value.transient


def test_a_secret(entra, environment):
    """The application of the environment comes first."""
    environment(**APPLICATION, AZURE_CLIENT_SECRET=SECRET)
    assert acquired() == "entra-1"
    assert entra.requests[0].form["client_secret"] == SECRET


@pytest.mark.parametrize("sends_chain", [None, "true"])
def test_a_certificate(entra, environment, tmp_path, sends_chain):
    """A certificate takes the secret's place, with its issuers if that is wished."""
    path = tmp_path / "app.pem"
    entra.trusted.certificates.append(Certificates().issue(path, password="pass"))
    environment(
        **APPLICATION,
        AZURE_CLIENT_CERTIFICATE_PATH=path,
        AZURE_CLIENT_CERTIFICATE_PASSWORD="pass",
        AZURE_CLIENT_SEND_CERTIFICATE_CHAIN=sends_chain or "",
    )
    assert acquired() == "entra-1"
    assert ("x5c" in entra.trusted.headers[0]) == (sends_chain is not None)


def test_a_workload(entra, environment, tmp_path):
    """A federated token of Kubernetes comes second."""
    path = tmp_path / "token"
    path.write_text("kubernetes")
    entra.trusted.federated = {"kubernetes"}
    environment(**APPLICATION, AZURE_FEDERATED_TOKEN_FILE=path)
    assert acquired() == "entra-1"


def test_a_managed_identity(endpoint, monkeypatch):
    """The host's identity comes third; ``AZURE_CLIENT_ID`` or the argument chooses one."""
    assert acquired() == "identity-1"
    monkeypatch.setenv("AZURE_CLIENT_ID", "from-environment")
    acquired()
    acquired(client_id="given")
    chosen = [dict(each.query).get("client_id") for each in endpoint.received]
    assert chosen == [None, "from-environment", "given"]


@pytest.mark.parametrize(
    "answer", [Answer(400, {"error": "invalid_request"}), Answer(403, {"error": "unreachable"})]
)
def test_a_host_without_an_identity(endpoint, tools, answer):
    """A virtual machine without an identity, or Docker Desktop, does not end the search."""
    tools["az"] = printed("from-az")
    endpoint.script.append(answer)
    assert acquired() == "from-az"


def test_a_host_without_a_choice(monkeypatch, tools):
    """A host that has one identity does not have the one that ``AZURE_CLIENT_ID`` names."""
    tools["az"] = printed("from-az")
    monkeypatch.setenv("MSI_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AZURE_CLIENT_ID", "chosen")
    assert acquired() == "from-az"


@pytest.mark.parametrize("tool", ["az", "pwsh", "azd"])
def test_tools(tools, tool):
    """A developer's tools come last."""
    tools[tool] = printed(f"from-{tool}") | {"expiresOn": "2100-01-01T00:00:00Z"}
    assert acquired() == f"from-{tool}"


def test_a_refused_credential(entra, environment, tools, endpoint):
    """A credential that is configured and refused ends the search: no other takes its place."""
    tools["az"] = printed("from-az")
    environment(**APPLICATION, AZURE_CLIENT_SECRET="wr0ng")
    with pytest.raises(TokenAcquisitionError, match="AADSTS7000215") as caught:
        acquired()
    assert caught.value.error == "invalid_client"
    assert "EnvironmentCredential, which is configured here" in str(caught.value)
    assert endpoint.received == []


def test_a_host_that_fails(endpoint, tools):
    """A metadata service that fails for a moment is asked again; no tool takes its place."""
    tools["az"] = printed("from-az")
    endpoint.script.append(Answer(503))
    with pytest.raises(TokenAcquisitionError, match="Not available before it: Env") as caught:
        acquired()
    assert caught.value.transient


def test_an_unusable_certificate(environment, tmp_path, tools):
    """A certificate that can't be read is an error of the configuration, and ends the search."""
    tools["az"] = printed("from-az")
    environment(**APPLICATION, AZURE_CLIENT_CERTIFICATE_PATH=tmp_path / "missing.pem")
    with pytest.raises(InvalidConfigurationError, match=r"missing\.pem can't be read"):
        acquired()


class TestLater:
    """What follows once a credential has worked."""

    def test_it_stays(self, endpoint, tools):
        """The credential that worked is used from then on, even if it fails."""
        tools["az"] = printed("from-az")
        provider = AzureDefaultProvider("azure", SCOPE)
        assert "client_id" not in provider.describe()
        token = provider.acquire_token()
        assert provider.describe()["client_id"] == "this host's"
        assert provider.describe()["type"].endswith(":AzureDefaultProvider")
        endpoint.script.append(Answer(400, {}))
        with pytest.raises(TokenAcquisitionError):
            provider.refresh_token(token)
        assert provider.refresh_token(token).access_token == "identity-3"
        assert provider.replace_refused_token(token).access_token == "identity-4"
        assert provider.replace_challenged_token(token, "{}").access_token == "identity-5"

    def test_all_apis(self, endpoint):
        """The search is made once for all tokens, and each has its own API."""
        with TokenKeeper() as keeper:
            keeper.add_provider(AzureDefaultProvider("azure", SCOPE))
            vault = keeper.source("azure", scope="https://vault.azure.net/.default")
            assert [vault(), keeper.get_token("azure")] == ["identity-1", "identity-2"]
        resources = [dict(each.query)["resource"] for each in endpoint.received]
        assert resources == ["https://vault.azure.net", "https://storage.azure.com"]

    @pytest.mark.parametrize("suffix", ["", "/.default"], ids=["identifier", "scope"])
    def test_apis_of_an_application(self, entra, environment, suffix):
        """An API is named by its identifier or as a scope, also where a source names it."""
        environment(**APPLICATION, AZURE_CLIENT_SECRET=SECRET)
        with TokenKeeper() as keeper:
            keeper.add_provider(AzureDefaultProvider("azure", SCOPE))
            keeper.get_token("azure")
            assert keeper.source("azure", scope="https://vault.azure.net" + suffix)() == "entra-2"
        assert entra.requests[1].form["scope"] == "https://vault.azure.net/.default"

    def test_what_is_not_one_api(self):
        """A source for several APIs is refused before any credential is tried."""
        with TokenKeeper() as keeper:
            keeper.add_provider(AzureDefaultProvider("azure", SCOPE))
            with pytest.raises(InvalidConfigurationError, match="not one API") as caught:
                keeper.source("azure", scope="a b")
        assert (caught.value.field, caught.value.provider_name) == ("scope", "azure")


class TestChoice:
    """``AZURE_TOKEN_CREDENTIALS``."""

    @pytest.mark.parametrize(
        ("choice", "tried"),
        [
            ("", range(6)),
            ("prod", range(3)),
            (" DEV ", range(3, 6)),
            *((name, [place]) for place, name in enumerate(CREDENTIALS)),
            ("azureclicredential", [3]),
        ],
    )
    def test_names(self, monkeypatch, choice, tried):
        """It limits the search to services', to developers', or to one credential."""
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", choice)
        with pytest.raises(TokenAcquisitionError) as caught:
            acquired()
        found = re.findall(r"(\w+Credential): ", str(caught.value))
        assert found == [list(CREDENTIALS)[place] for place in tried]

    @pytest.mark.parametrize("choice", ["production", "InteractiveBrowserCredential"])
    def test_other_names(self, monkeypatch, choice):
        """Another name is an error where the provider is made."""
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", choice)
        with pytest.raises(InvalidConfigurationError, match="'dev', 'prod', or one of") as caught:
            AzureDefaultProvider("azure", SCOPE)
        assert caught.value.field == "AZURE_TOKEN_CREDENTIALS"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"scope": ""}, "scope"),
        ({"client_id": ""}, "client_id"),
        ({"tenant_id": "a/b"}, "tenant_id"),
        ({"process_timeout": 0}, "process_timeout"),
    ],
)
def test_what_can_not_work(options, field):
    """An option that can't work is an error where the provider is made."""
    with pytest.raises(InvalidConfigurationError) as caught:
        AzureDefaultProvider("azure", **({"scope": SCOPE} | options))
    assert (caught.value.field, caught.value.provider_name) == (field, "azure")


def test_it_is_made_without_a_request(environment):
    """Creating it asks for nothing, and its ``repr`` shows only the API."""
    provider = AzureDefaultProvider("azure", SCOPE)
    assert repr(provider) == f"<AzureDefaultProvider 'azure' for {SCOPE}>"
    assert provider.identity()["scope"] == SCOPE


@pytest.mark.parametrize(
    ("choice", "seconds"), [("prod", 120), ("dev", 132), ("AzureCliCredential", 124)]
)
def test_how_long_a_request_may_take(monkeypatch, choice, seconds):
    """The tools that a search may ask count for a claim, each with its limit."""
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", choice)
    provider = AzureDefaultProvider("azure", SCOPE, process_timeout=4)
    assert provider.longest_request_seconds == seconds
