"""The cookbook's page on simple-salesforce, with a stub of an organization."""

import pytest
import urllib3
from kit.cookbook import example
from kit.guards import until
from kit.servers.base import Answer
from kit.servers.guarded import Guarded, certificate_in
from simple_salesforce import Salesforce, SalesforceExpiredSession

from tokenkeeper import GenericOAuth2Provider, TokenKeeper


class Organization(Guarded):
    """A stub with a token endpoint, which adds the URL of the organization to each token.

    It speaks TLS, as the client always does.

    :param server: the authorization server that grants the tokens.
    """

    def __init__(self, server, context):
        self._granting = server.token_url
        super().__init__(server.is_alive)
        self.speak_tls(context)
        self.token_url = f"{self.origin}/services/oauth2/token"
        self.url = f"https://localhost:{self.server_port}"

    def answer(self, request):
        if request.path == "/services/oauth2/token":
            kept = ("authorization", "content-type")
            headers = {name: request.headers[name] for name in kept if name in request.headers}
            granted = urllib3.request("POST", self._granting, body=request.body, headers=headers)
            return Answer(granted.status, granted.json() | {"instance_url": self.url})
        return super().answer(request)

    def granted(self, request):
        if request.path.endswith("/query/"):
            return Answer(body={"done": True, "records": [{"Name": "Acme"}]})
        assert request.path.endswith("/sobjects/Account/1"), request.path
        return Answer(body={"Id": "1"})

    def refused(self, request):
        error = {"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}
        return Answer(401, [error])


@pytest.fixture
def organization(server, tmp_path, monkeypatch):
    """Return the stub; clients trust it."""
    certificate = certificate_in(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca))
    with Organization(server, certificate.context) as organization:
        yield organization


@pytest.fixture
def source(server, organization):
    """Return a source of tokens that the stub's own endpoint grants."""
    config = server.config("api", token_url=organization.token_url)
    with TokenKeeper() as keeper:
        keeper.add_provider(GenericOAuth2Provider(config))
        yield keeper.source("api")


def test_a_crowd_recovers_with_one_renewal(server, source, organization, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    client = example("simple_salesforce").salesforce(source)

    def name():
        return client.query("SELECT Name FROM Account")["records"][0]["Name"]

    assert crowd(8, name) == ["Acme"] * 8
    server.revoke_all()
    assert crowd(8, name) == ["Acme"] * 8
    assert requests_of() == 2


def test_objects_share_the_session(server, source, organization, requests_of):
    """The client's objects, such as Account, recover too."""
    client = example("simple_salesforce").salesforce(source)
    assert client.Account.get("1")["Id"] == "1"
    server.revoke_all()
    assert client.Account.get("1")["Id"] == "1"
    assert requests_of() == 2


def test_a_session_id_alone_does_not_recover(server, source, organization):
    """Without the session, the token is a constant, which the client never renews."""
    token = source.token()
    client = Salesforce(instance_url=token.extra["instance_url"], session_id=token.access_token)
    server.revoke_all()
    with pytest.raises(SalesforceExpiredSession):
        client.query("SELECT Name FROM Account")


def test_a_subscription_keeps_the_session_id_current(source, organization):
    """The Bulk API sends the session id, which a subscriber replaces on each renewal."""
    client = example("simple_salesforce").salesforce(source)
    source.subscribe(lambda token: setattr(client, "session_id", token.access_token))
    renewed = source.get_token(force_refresh=True)
    until(lambda: client.bulk.headers["X-SFDC-Session"] == renewed)


def test_the_example_runs(run_example, organization):
    """The example reads a name."""
    variables = {"OAUTH2_TOKEN_URL": organization.token_url}
    assert run_example("simple_salesforce", **variables) == "['Acme']\n"
