"""A server that is known by its issuer."""

import logging
import pickle

import pytest
from kit.oauth_client import oauth_client
from kit.servers.base import Answer
from kit.servers.issuer import OAUTH, OPENID, IssuerServer
from kit.servers.tls import context_of

from tokenkeeper import OAuth2Config, TokenAcquisitionError
from tokenkeeper.oauth.claims import LookAgain, claimed
from tokenkeeper.oauth.client_proof import ClientCertificate, ClientProof
from tokenkeeper.oauth.metadata import DiscoveredServer
from tokenkeeper.oauth.server import ConfiguredServer, recipient, server_of
from tokenkeeper.oauth.transport import HttpTransport

URL = "https://id.example.com/token"
REVOCATION = {"revocation_endpoint": "https://id.example.com/revoke"}


@pytest.fixture
def server():
    with IssuerServer() as server:
        yield server


@pytest.fixture
def discovered(clock):
    """Return a function that makes the server of a configuration with an issuer."""

    def discovered(issuer, endpoints=None, **options):
        config = OAuth2Config("api", "me", "secret", issuer=issuer, endpoints=endpoints)
        return server_of(config, HttpTransport(clock=clock, **options), clock)

    return discovered


def final_failure(server, name):
    with pytest.raises(TokenAcquisitionError) as caught:
        server.endpoint(name)
    assert caught.value.provider_name == "api"
    assert not caught.value.transient
    return str(caught.value)


def test_a_configured_server(clock):
    """A server with a token_url has the endpoints that are configured, and no metadata."""
    config = OAuth2Config("api", "me", "secret", URL, endpoints=REVOCATION)
    server = server_of(config, HttpTransport(), clock)
    assert isinstance(server, ConfiguredServer)
    assert server.endpoint("token_endpoint") == URL == server.shown
    assert server.endpoint("revocation_endpoint") == REVOCATION["revocation_endpoint"]
    assert server.metadata() is server.issuer() is None
    server.warn_if_unsupported("none", "password")
    said = final_failure(server, "introspection_endpoint")
    assert said == (
        "provider 'api': the server's introspection_endpoint is not known. Set it in endpoints, or "
        "set issuer in place of token_url."
    )


def test_a_discovered_server(discovered, server):
    """A server with an issuer has the endpoints of its metadata, which is read when needed."""
    issuer = server.publish(revocation_endpoint=f"{server.origin}/revoke")
    found = discovered(issuer)
    assert isinstance(found, DiscoveredServer)
    assert found.issuer() == found.shown == issuer
    assert server.received == []
    assert found.endpoint("token_endpoint") == f"{server.origin}/token"
    assert found.endpoint("revocation_endpoint") == f"{server.origin}/revoke"
    assert found.metadata()["issuer"] == issuer
    assert len(server.received) == 1


def test_the_issuer_is_the_audience(discovered, server):
    """A proof for a server with an issuer is meant for that issuer."""
    found = discovered(server.publish("/t1"))
    to = recipient(found, found.endpoint("token_endpoint"))
    assert to.audience == to.issuer == f"{server.origin}/t1"
    assert to.token_url == f"{server.origin}/token"


def test_a_configured_endpoint_counts(discovered, server):
    """An endpoint of the configuration replaces that of the metadata, which is not needed then."""
    found = discovered(server.origin, {"token_endpoint": URL})
    assert found.endpoint("token_endpoint") == URL
    assert found.endpoint("token_endpoint", with_certificate=True) == URL
    found.warn_if_unsupported("none", "password")
    assert server.received == []


def test_a_missing_endpoint(discovered, server, clock):
    """An endpoint that the metadata lacks is a final failure; it is looked for again soon."""
    issuer = server.publish(token_endpoint=None)
    found = discovered(issuer)
    assert final_failure(found, "token_endpoint") == (
        f"provider 'api': the metadata at {issuer}{OAUTH} has no token_endpoint. Set it in "
        "endpoints if there is one."
    )
    server.publish()
    clock.step(60)
    assert found.endpoint("token_endpoint") == f"{issuer}/token"


def test_an_untrusted_endpoint(discovered, server):
    """Metadata over plain http that points to another host sends no secret there."""
    found = discovered(server.publish(token_endpoint="https://attacker.test/token"))
    assert "https://attacker.test/token, which is not trusted" in final_failure(
        found, "token_endpoint"
    )


def test_no_metadata(discovered, server):
    """The failure to get metadata says that it is the metadata that is missing."""
    server.published[OAUTH] = Answer(503)
    with pytest.raises(TokenAcquisitionError) as caught:
        discovered(server.origin).endpoint("token_endpoint")
    assert str(caught.value) == (
        f"provider 'api': the metadata of {server.origin} could not be had: "
        f"{server.origin}{OAUTH} answered HTTP 503. If this persists, contact the server's "
        "operator."
    )
    assert caught.value.transient


LISTS = {
    "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    "grant_types_supported": ["authorization_code"],
}


def test_a_warning_once(discovered, server, caplog):
    """A method or grant that the metadata does not list is a warning, once each."""
    found = discovered(server.publish(**LISTS))
    found.warn_if_unsupported("none", "password")  # nothing was read yet
    assert not caplog.records
    found.metadata()
    for _ in range(3):
        found.warn_if_unsupported("none", "password")
    found.warn_if_unsupported("private_key_jwt", "authorization_code")
    assert {each.levelno for each in caplog.records} == {logging.WARNING}
    said = "provider 'api': {} is not supported by the server, says its metadata: {}"
    assert [each.getMessage() for each in caplog.records] == [
        said.format("none", "token_endpoint_auth_methods_supported lists private_key_jwt"),
        said.format("password", "grant_types_supported lists authorization_code"),
    ]


def test_it_pickles(discovered, server):
    """A server can be sent to another process, which reads the metadata itself."""
    config = OAuth2Config("api", "me", "secret", issuer=server.publish())
    found = server_of(config, HttpTransport(), SystemClockStandIn())
    assert pickle.loads(pickle.dumps(found)).endpoint("token_endpoint") == f"{server.origin}/token"


class SystemClockStandIn:
    """A clock that can be pickled."""

    def monotonic(self):
        return 0.0

    def time(self):
        return 0.0


class Certificate:
    """A client authentication by certificate."""

    method = "tls_client_auth"

    def __init__(self, file):
        self.file = str(file)

    def prove(self, client_id, recipient):
        return ClientProof({"client_id": client_id}, certificate=ClientCertificate(self.file))


def test_a_certificate_goes_to_the_alias(server, authority, ca_file, tmp_path):
    """A client with a certificate uses the alias of the endpoint for certificates."""
    certificate = tmp_path / "client.pem"
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(certificate)
    with (
        IssuerServer(tls=context_of(authority, "127.0.0.1")) as issuing,
        IssuerServer(tls=context_of(authority, "127.0.0.1")) as mtls,
    ):
        aliases = {"token_endpoint": f"{mtls.origin}/mtls/token"}
        config = OAuth2Config("api", "me", issuer=issuing.publish(mtls_endpoint_aliases=aliases))
        auth = Certificate(certificate)
        client = oauth_client(config, HttpTransport(verify=ca_file), auth=auth)
        assert client.post("token_endpoint", lambda to: {"a": "b"}).answer.status == 200
        assert mtls.token_requests == ["/mtls/token"]
        assert issuing.token_requests == []


class TestMixUp:
    """Servers that try to get the secrets of another server's clients."""

    def post(self, config, **options):
        client = oauth_client(config, HttpTransport(**options))
        return client.post("token_endpoint", lambda to: {"grant_type": "client_credentials"})

    def test_an_attacker_that_claims_to_be_the_issuer(self, server):
        """An attacker's metadata is not used for its own address, whatever issuer it states."""
        with IssuerServer() as honest:
            server.publish(issuer=honest.publish(), token_endpoint=f"{honest.origin}/token")
            with pytest.raises(TokenAcquisitionError, match="is that of the issuer"):
                self.post(OAuth2Config("api", "me", "secret", issuer=server.origin))
            assert server.token_requests == honest.token_requests == []

    def test_an_attacker_on_the_issuers_port(self, server):
        """A program that took the port of a local issuer can't send the secret elsewhere."""
        with IssuerServer() as attacker:
            issuer = server.publish(token_endpoint=f"{attacker.origin}/token")
            with pytest.raises(TokenAcquisitionError, match="not trusted"):
                self.post(OAuth2Config("api", "me", "secret", issuer=issuer))
            assert attacker.received == server.token_requests == []

    def test_an_attacker_with_another_certificate(self, server, authority, ca_file):
        """Over https, only a server with a certificate for the issuer's host states endpoints."""
        with IssuerServer(tls=context_of(authority, "attacker.test")) as attacker:
            issuer = attacker.publish(token_endpoint="https://attacker.test/token")
            with pytest.raises(TokenAcquisitionError, match="certificate was not accepted"):
                self.post(OAuth2Config("api", "me", "secret", issuer=issuer), verify=ca_file)
            assert attacker.received == []

    def test_another_https_host(self, authority, ca_file):
        """Over https, the issuer itself may send its clients to another https host."""
        with (
            IssuerServer(tls=context_of(authority, "127.0.0.1")) as issuing,
            IssuerServer(tls=context_of(authority, "127.0.0.1")) as tokens,
        ):
            issuer = issuing.publish(token_endpoint=f"{tokens.origin}/v2/token")
            self.post(OAuth2Config("api", "me", "secret", issuer=issuer), verify=ca_file)
            assert tokens.token_requests == ["/v2/token"]
            assert (issuing.metadata_requests, issuing.token_requests) == ([OAUTH], [])


def test_the_claim_is_looked_at_right_before_the_token_request(server):
    """A claim that grows too old while the metadata is read sends no token request."""
    config = OAuth2Config("api", "me", "secret", issuer=server.publish(at=OPENID))
    client = oauth_client(config, HttpTransport())
    with (
        claimed(lambda: server.metadata_requests != [OAUTH, OPENID]),
        pytest.raises(LookAgain),
    ):
        client.post("token_endpoint", lambda to: {})
    assert server.metadata_requests == [OAUTH, OPENID]
    assert server.token_requests == []
