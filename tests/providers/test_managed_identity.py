"""Managed identities: each host in Azure has an endpoint of its own."""

import hashlib
import ssl
import time

import pytest
import trustme
from kit.servers.base import Answer
from kit.servers.managed_identity import VARIABLES, IdentityEndpoint, granted

from tokenkeeper import (
    InvalidConfigurationError,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.providers import managed_identity, managed_identity_hosts
from tokenkeeper.providers.managed_identity import ManagedIdentityProvider

SCOPE, RESOURCE = "https://storage.azure.com/.default", "https://storage.azure.com"
SECRET = "h3ader~secret"


@pytest.fixture(autouse=True)
def _no_host(monkeypatch):
    """Take all variables of hosts out of the environment."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def endpoint():
    """Return a running endpoint."""
    with IdentityEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def host(monkeypatch, endpoint):
    """Return a function that sets variables, in which ``{}`` stands for the endpoint."""

    def host(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value.format(endpoint.origin))

    return host


APP_SERVICE = {"IDENTITY_ENDPOINT": "{}/msi/token", "IDENTITY_HEADER": SECRET}
MACHINE_LEARNING = {"MSI_ENDPOINT": "{}/msi/auth", "MSI_SECRET": SECRET}
CLOUD_SHELL = {"MSI_ENDPOINT": "{}/oauth2/token"}
IMDS = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": "{}/"}
ARC = {"IDENTITY_ENDPOINT": "{}/metadata/identity/oauth2/token", "IMDS_ENDPOINT": "{}"}

HOSTS = {
    "App Service": (
        APP_SERVICE,
        "/msi/token",
        {"api-version": "2019-08-01"},
        {"x-identity-header": SECRET},
        {"client_id": "client_id", "object_id": "object_id", "resource_id": "mi_res_id"},
    ),
    "Azure Machine Learning": (
        MACHINE_LEARNING,
        "/msi/auth",
        {"api-version": "2017-09-01"},
        {"secret": SECRET},
        {"client_id": "clientid", "object_id": "object_id", "resource_id": "msi_res_id"},
    ),
    "virtual machine": (
        IMDS,
        "/metadata/identity/oauth2/token",
        {"api-version": "2018-02-01"},
        {"metadata": "true"},
        {"client_id": "client_id", "object_id": "object_id", "resource_id": "msi_res_id"},
    ),
}


@pytest.mark.parametrize(
    ("variables", "path", "query", "headers", "ids"), HOSTS.values(), ids=HOSTS
)
class TestHosts:
    """Hosts that are asked with one GET request."""

    def test_the_identity_of_the_host(self, endpoint, host, variables, path, query, headers, ids):
        """The request is the one of the host's documentation, and the token lives a day."""
        host(**variables)
        token = ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert token.access_token == "identity-1"
        assert 86_300 < token.expires_at.timestamp() - time.time() <= 86_401
        assert token.scope == SCOPE
        [request] = endpoint.received
        assert (request.method, request.path) == ("GET", path)
        assert dict(request.query) == query | {"resource": RESOURCE}
        assert headers.items() <= request.headers.items()

    def test_an_identity_of_the_user(self, endpoint, host, variables, path, query, headers, ids):
        """An identity that a user assigned is named as the host expects it."""
        host(**variables)
        for name, parameter in ids.items():
            ManagedIdentityProvider("storage", RESOURCE, **{name: "chosen"}).acquire_token()
            assert dict(endpoint.received[-1].query)[parameter] == "chosen"

    def test_a_refusal(self, endpoint, host, variables, path, query, headers, ids):
        """A refusal is final, says what to check, and does not show the host's secret."""
        host(**variables)
        words = {"error": "invalid_request", "error_description": f"None. {headers.get('secret')}"}
        endpoint.script.append(Answer(400, words))
        with pytest.raises(TokenAcquisitionError, match="identity is assigned") as caught:
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert not caught.value.transient
        assert "(HTTP 400): invalid_request" in str(caught.value)
        assert SECRET not in str(caught.value) + repr(vars(caught.value))

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"access_token": 5}'])
    def test_odd_answers(self, endpoint, host, variables, path, query, headers, ids, body):
        """An answer that is not a token is an error of ours."""
        host(**variables)
        endpoint.script.append(Answer(200, body))
        with pytest.raises(TokenAcquisitionError, match="provider 'storage'"):
            ManagedIdentityProvider("storage", SCOPE).acquire_token()


class TestImds:
    """What is special about the metadata service of virtual machines."""

    @pytest.mark.parametrize("status", [404, 410, 429, 500, 502, 503, 504])
    def test_failures_that_pass(self, endpoint, host, status):
        """The documented statuses are transient; a restart is given its time."""
        host(**IMDS)
        endpoint.script.append(Answer(status, {"error": "not_found"}))
        with pytest.raises(TokenAcquisitionError) as caught:
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert caught.value.transient
        assert caught.value.retry_after == (20 if status == 410 else None)

    def test_a_keeper_asks_again(self, endpoint, host, clock):
        """A keeper waits through a restart of the service."""
        host(**IMDS)
        endpoint.script.extend([Answer(410, {}), Answer(404, {}), Answer(503, {})])
        with TokenKeeper(clock=clock) as keeper:
            keeper.add_provider(ManagedIdentityProvider("storage", SCOPE, clock=clock))
            assert keeper.get_token("storage") == "identity-4"

    def test_elsewhere(self, host):
        """Where no service answers, the error is one of the network."""
        host(AZURE_POD_IDENTITY_AUTHORITY_HOST="http://127.0.0.1:1")
        with pytest.raises(TokenAcquisitionError) as caught:
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert caught.value.network_reason == "connection_refused"

    def test_another_machine(self, host):
        """No token is fetched over plain http from another machine, where anyone could read it."""
        host(AZURE_POD_IDENTITY_AUTHORITY_HOST="http://imds.example")
        with pytest.raises(TokenAcquisitionError, match="plain http"):
            ManagedIdentityProvider("storage", SCOPE).acquire_token()

    def test_the_address(self):
        """Without any variable, the metadata service of the virtual machine is asked."""
        described = ManagedIdentityProvider("storage", SCOPE, client_id="x").describe()
        assert described["token_url"] == "http://169.254.169.254/metadata/identity/oauth2/token"
        assert (described["client_id"], described["scope"]) == ("x", SCOPE)


class TestArc:
    """Azure Arc: a key in a file that only an administrator may read."""

    @pytest.fixture(autouse=True)
    def key_file(self, tmp_path, monkeypatch, endpoint, host):
        folder = tmp_path / "tokens"
        folder.mkdir()
        monkeypatch.setattr(managed_identity, "_arc_folder", lambda: str(folder))
        endpoint.key_file = folder / "1.key"
        endpoint.key_file.write_text("the~key\n")
        host(**ARC)
        return endpoint.key_file

    def test_a_token(self, endpoint):
        """The second request carries the content of the file that the first answer names."""
        token = ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert token.access_token == "identity-2"
        first, second = endpoint.received
        assert "authorization" not in first.headers
        assert second.headers["authorization"] == "Basic the~key"
        for request in endpoint.received:
            assert request.headers["metadata"] == "true"
            assert dict(request.query) == {"api-version": "2020-06-01", "resource": RESOURCE}

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "Basic",
            "Basic realm=",
            "Basic realm=/etc/shadow",
            "Basic realm=/etc/shadow.key",
            "Basic realm={folder}/../tokens/1.key",
            "Basic realm={folder}/1.txt",
            "Basic realm={folder}/deeper/1.key",
        ],
    )
    def test_other_files(self, endpoint, key_file, header):
        """A file elsewhere, or of another kind, is neither read nor sent."""
        if header is not None:
            header = header.format(folder=key_file.parent)
        endpoint.script.append(Answer(401, b"", {"WWW-Authenticate": header}))
        with pytest.raises(TokenAcquisitionError, match=r"not a \.key file") as caught:
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert not caught.value.transient
        assert len(endpoint.received) == 1

    @pytest.mark.parametrize("content", [None, b"x" * 4097, b"\xff\xfe"])
    def test_unusable_keys(self, endpoint, key_file, content):
        """A file that is missing, too long or not text is not sent."""
        endpoint.script.append(Answer(401, b"", {"WWW-Authenticate": f"Basic realm={key_file}"}))
        key_file.unlink()
        if content is not None:
            key_file.write_bytes(content)
        with pytest.raises(TokenAcquisitionError, match="can't read the key file"):
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert len(endpoint.received) == 1

    def test_a_key_that_is_echoed(self, endpoint):
        """The key does not show in an error, even if the agent repeats it."""
        header = {"WWW-Authenticate": f"Basic realm={endpoint.key_file}"}
        endpoint.script.append(Answer(401, b"", header))
        endpoint.script.append(Answer(400, {"error": "invalid", "message": "the~key is wrong"}))
        with pytest.raises(TokenAcquisitionError) as caught:
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert "the~key" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "member"),
        [("client_id", "client_id"), ("object_id", "object_id"), ("resource_id", "msi_res_id")],
    )
    def test_an_agent_that_ignores_the_identity(self, endpoint, name, member):
        """A token of the machine's own identity is not taken for the chosen one's."""
        provider = ManagedIdentityProvider("storage", SCOPE, **{name: "Chosen"})
        with pytest.raises(TokenAcquisitionError, match="another identity"):
            provider.acquire_token()
        endpoint.identity = {member: "chosen"}
        assert provider.acquire_token().access_token == "identity-4"

    def test_the_folder(self, monkeypatch):
        """The folder is the agent's on each system."""
        monkeypatch.undo()
        assert managed_identity._arc_folder() == "/var/opt/azcmagent/tokens"
        monkeypatch.setattr("sys.platform", "win32")
        monkeypatch.setenv("PROGRAMDATA", "D:")
        assert "AzureConnectedMachineAgent" in managed_identity._arc_folder()

    def test_an_agent_without_variables(self, monkeypatch, tmp_path):
        """The agent is found where no variable names it."""
        monkeypatch.undo()
        agent = tmp_path / "himds"
        monkeypatch.setattr(managed_identity_hosts, "ARC_AGENT", str(agent))
        assert managed_identity_hosts.identity_host({}).kind == "imds"
        agent.touch()
        found = managed_identity_hosts.identity_host({})
        assert (found.kind, found.url) == (
            "arc",
            "http://localhost:40342/metadata/identity/oauth2/token",
        )


class TestCloudShell:
    """Cloud Shell: a form, and one identity."""

    def test_a_token(self, endpoint, host):
        """The API is named in the body."""
        host(**CLOUD_SHELL)
        assert ManagedIdentityProvider("a", SCOPE).acquire_token().access_token == "identity-1"
        [request] = endpoint.received
        assert (request.method, request.form) == ("POST", [("resource", RESOURCE)])
        assert request.headers["metadata"] == "true"

    def test_a_chosen_identity(self, endpoint, host):
        """An identity can't be chosen there."""
        host(**CLOUD_SHELL)
        with pytest.raises(InvalidConfigurationError, match="Cloud Shell") as caught:
            ManagedIdentityProvider("storage", SCOPE, client_id="x").acquire_token()
        assert caught.value.field == "client_id"
        assert endpoint.received == []


class TestServiceFabric:
    """Service Fabric: a certificate that is known by its thumbprint."""

    @pytest.fixture
    def fabric(self, monkeypatch):
        ca = trustme.CA()
        issued = ca.issue_cert("somewhere.else")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(context)
        der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
        with IdentityEndpoint(tls=context) as fabric:
            monkeypatch.setenv("IDENTITY_ENDPOINT", f"{fabric.origin}/metadata")
            monkeypatch.setenv("IDENTITY_HEADER", SECRET)
            thumbprint = hashlib.sha1(der).hexdigest().upper()
            monkeypatch.setenv("IDENTITY_SERVER_THUMBPRINT", thumbprint)
            yield fabric

    def test_a_token(self, fabric, monkeypatch):
        """A certificate with the right thumbprint is trusted, and no proxy is used."""
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        provider = ManagedIdentityProvider("storage", SCOPE)
        token = provider.acquire_token()
        assert token.access_token == "identity-1"
        provider.refresh_token(token)
        provider.replace_refused_token(token)
        first, second, third = (dict(each.query) for each in fabric.received)
        assert first == second == {"api-version": "2019-07-01-preview", "resource": RESOURCE}
        digest = hashlib.sha256(b"identity-1").hexdigest()
        assert third == first | {"token_sha256_to_refresh": digest}
        assert fabric.received[0].headers["secret"] == SECRET

    def test_another_certificate(self, fabric, monkeypatch):
        """Another certificate gets neither the secret nor any other byte of the request."""
        monkeypatch.setenv("IDENTITY_SERVER_THUMBPRINT", "00" * 20)
        with pytest.raises(TokenAcquisitionError) as caught:
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert caught.value.network_reason == "tls"
        assert fabric.received == []

    def test_no_thumbprint(self, fabric, monkeypatch):
        """What is not a thumbprint, or an endpoint without TLS, is an error before any request."""
        monkeypatch.setenv("IDENTITY_SERVER_THUMBPRINT", "no thumbprint")
        with pytest.raises(InvalidConfigurationError, match="40 hexadecimal digits") as caught:
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert caught.value.field == "IDENTITY_SERVER_THUMBPRINT"
        monkeypatch.setenv("IDENTITY_SERVER_THUMBPRINT", "00" * 20)
        monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/metadata")
        with pytest.raises(InvalidConfigurationError, match="https://"):
            ManagedIdentityProvider("storage", SCOPE).acquire_token()
        assert fabric.connections == 0


class TestOptions:
    """What is checked where the provider is made."""

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"scope": ""}, "scope"),
            ({"scope": "/.default"}, "scope"),
            ({"scope": "a b"}, "scope"),
            ({"scope": None}, "scope"),
            ({"client_id": ""}, "client_id"),
            ({"client_id": "a", "object_id": "b"}, "object_id"),
            ({"object_id": "a", "resource_id": "b"}, "resource_id"),
            ({"total_timeout": 0}, "total_timeout"),
        ],
    )
    def test_what_can_not_work(self, options, field):
        """An option that can't work is an error that names it."""
        with pytest.raises(InvalidConfigurationError) as caught:
            ManagedIdentityProvider("storage", **({"scope": SCOPE} | options))
        assert (caught.value.field, caught.value.provider_name) == (field, "storage")

    def test_other_apis(self, endpoint, host):
        """A source may name another API; each has its own token."""
        host(**APP_SERVICE)
        with TokenKeeper() as keeper:
            keeper.add_provider(ManagedIdentityProvider("azure", SCOPE))
            vault = keeper.source("azure", scope="https://vault.azure.net/.default")
            assert (keeper.get_token("azure"), vault()) == ("identity-1", "identity-2")
            with pytest.raises(InvalidConfigurationError, match="not one API"):
                keeper.source("azure", scope="a b")
        assert dict(endpoint.received[1].query)["resource"] == "https://vault.azure.net"

    def test_older_dates(self, endpoint, host):
        """The expiry may be a date, as older versions of App Service write it."""
        host(**MACHINE_LEARNING)
        for text in ("%m/%d/%Y %H:%M:%S +00:00", "%m/%d/%Y %I:%M:%S %p +00:00"):
            stated = time.strftime(text, time.gmtime(time.time() + 3600))
            endpoint.script.append(Answer(200, granted(1) | {"expires_on": stated}))
            token = ManagedIdentityProvider("storage", SCOPE).acquire_token()
            assert 3500 < token.expires_at.timestamp() - time.time() <= 3601

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("http://user:password@host/token?key=x", "http://host/token"),
            ("http://[1", "http://[1"),
        ],
        ids=["with secrets", "not a URL"],
    )
    def test_the_address_that_is_shown(self, host, url, shown):
        """The environment's address is described without secrets, even if nothing can be there."""
        host(**(APP_SERVICE | {"IDENTITY_ENDPOINT": url}))
        assert ManagedIdentityProvider("storage", SCOPE).describe()["token_url"] == shown

    def test_nothing_before_it_is_needed(self, monkeypatch):
        """Creating a provider sends nothing, and its ``repr`` shows no secret."""
        monkeypatch.setenv("IDENTITY_HEADER", SECRET)
        provider = ManagedIdentityProvider("storage", SCOPE, retry=RetryPolicy(attempts=1))
        assert repr(provider) == f"<ManagedIdentityProvider 'storage' for {SCOPE}>"
        assert SECRET not in repr(managed_identity_hosts.identity_host(APP_SERVICE))
