"""Tokens that CI systems give a job."""

import json
import pickle

import pytest
from kit.oauth_client import proof_of

from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.azure_pipelines import AzurePipelinesToken
from tokenkeeper.oauth.client_assertions import ClientAssertion
from tokenkeeper.oauth.github_actions import GitHubActionsToken
from tokenkeeper.oauth.transport import HttpTransport

REQUEST_TOKEN = "hunter2-hunter2"


class GitHub:
    """GitHub Actions, in a job with the permission."""

    make = staticmethod(lambda **options: GitHubActionsToken("api://a b", **options))
    variables = ("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    path, line = (
        "?api-version=2.0",
        "GET /token?api-version=2.0&audience=api%3A%2F%2Fa%20b HTTP/1.1",
    )
    member, name, sent = "value", "GitHub Actions", frozenset()
    advice = "Give the job the permission id-token: write."


class Azure:
    """Azure Pipelines, in a step with its token."""

    make = staticmethod(lambda **options: AzurePipelinesToken("1&2", **options))
    variables = ("SYSTEM_OIDCREQUESTURI", "SYSTEM_ACCESSTOKEN")
    path, line = "/", "POST /token?api-version=7.1&serviceConnectionId=1%262 HTTP/1.1"
    member, name = "oidcToken", "Azure Pipelines"
    sent = frozenset({"Content-Type: application/json", "X-TFS-FedAuthRedirect: Suppress"})
    advice = "Check the id of the service connection, and that the pipeline may use it."


@pytest.fixture(params=[GitHub, Azure], ids=lambda system: system.name)
def system(request):
    """Return a CI system."""
    return request.param


@pytest.fixture
def serve(system, make_server, monkeypatch):
    """Return a function that starts the system's server, and sets the variables of a job."""

    def start(*scripts):
        server = make_server(*scripts)
        address, token = system.variables
        monkeypatch.setenv(address, server.url + system.path)
        monkeypatch.setenv(token, REQUEST_TOKEN)
        return server

    for name in system.variables:
        monkeypatch.delenv(name, raising=False)
    start.reply = make_server.reply
    return start


def failure_of(source):
    """Return the error of a source, which shows neither token."""
    with pytest.raises(TokenAcquisitionError) as caught:
        source()
    assert "hunter2" not in str(caught.value)
    assert caught.value.provider_name is None
    return caught.value


def test_a_token(system, serve):
    """Each call sends one request, with the job's own token, and returns a new one."""
    replies = [serve.reply(json.dumps({system.member: f"e.y.{n}"}).encode()) for n in range(2)]
    server = serve(*replies)
    source = pickle.loads(pickle.dumps(system.make()))
    assert [source(), source()] == ["e.y.0", "e.y.1"]
    for request in server.requests:
        line, *headers = request.decode().partition("\r\n\r\n")[0].split("\r\n")
        assert line == system.line
        assert {f"Authorization: Bearer {REQUEST_TOKEN}", "Accept: application/json"} <= {*headers}
        assert system.sent <= {*headers}


def test_as_a_client_assertion(system, serve):
    """The token is the client assertion, requested for each proof."""
    serve(*[serve.reply(json.dumps({system.member: f"e.y.{n}"}).encode()) for n in range(2)])
    auth = ClientAssertion(system.make())
    found = [proof_of(auth).parameters["client_assertion"] for _ in range(2)]
    assert found == ["e.y.0", "e.y.1"]


@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("value", [None, " "])
def test_outside_of_a_job(system, serve, monkeypatch, missing, value):
    """A variable that is missing is an error that says how to get it, and nothing is sent."""
    server = serve()
    name = system.variables[missing]
    monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    error = failure_of(system.make())
    assert str(error).startswith(f"{system.name}: the variable {name} is not set. ")
    assert not error.transient
    assert not server.requests


@pytest.mark.parametrize(
    ("status", "body", "transient", "says"),
    [
        ("401 Unauthorized", b"hunter2", False, "no token for this job (HTTP 401). "),
        ("404 Not Found", b"", False, "no token for this job (HTTP 404). "),
        ("302 Found", b"", False, "no token for this job (HTTP 302). "),
        ("429 Too Many Requests", b"{}", True, "no token for this job (HTTP 429). "),
        ("503 Service Unavailable", b"{}", True, "no token for this job (HTTP 503). "),
        ("200 OK", b"<html>hunter2", False, "the answer has no {} (HTTP 200). "),
        ("200 OK", b"[]", False, "the answer has no {} (HTTP 200). "),
        ("200 OK", b'{"value": 1, "oidcToken": null}', False, "the answer has no {} (HTTP 200). "),
        ("200 OK", b'{"value": "", "oidcToken": ""}', False, "the answer has no {} (HTTP 200). "),
    ],
)
def test_no_token(system, serve, status, body, transient, says):
    """An answer without a token is an error with its status, which says whether it may pass."""
    serve(serve.reply(body, status=status))
    error = failure_of(system.make())
    assert str(error) == f"{system.name}: {says.format(system.member)}{system.advice}"
    assert error.transient is transient
    assert error.status_code == int(status[:3])


def test_a_server_that_asks_to_wait(system, serve):
    """The wait that a busy server asks for is in the error, so that no retry comes earlier."""
    serve(serve.reply(b"", status="429 Too Many Requests", headers=("Retry-After: 70",)))
    assert failure_of(system.make()).retry_after == 70.0


def test_no_answer(system, serve, make_server):
    """A connection that breaks is an error of the network that names no provider."""
    serve(lambda server, sock: sock.recv(1))
    error = failure_of(system.make(transport=HttpTransport(total_timeout=20)))
    assert str(error).startswith("request to 127.0.0.1")
    assert error.transient
    assert error.network_reason == "connection_broken"


def test_plain_http_to_another_machine(system, serve, monkeypatch):
    """The job's token is not sent where others could read it."""
    serve()
    monkeypatch.setenv(system.variables[0], "http://ci.test/token")
    assert "use https" in str(failure_of(system.make())).lower()


def test_an_address_without_a_query(make_server, monkeypatch):
    """The audience begins the query if the address has none."""
    server = make_server(make_server.reply(b'{"value": "e.y.1"}'))
    monkeypatch.setenv(GitHub.variables[0], server.url)
    monkeypatch.setenv(GitHub.variables[1], REQUEST_TOKEN)
    assert GitHubActionsToken("a")() == "e.y.1"
    assert server.requests[0].startswith(b"GET /token?audience=a HTTP/1.1")


@pytest.mark.parametrize("value", ["", None, 3])
def test_what_can_not_be_asked_for(value):
    """The audience, or the service connection, is a text."""
    for kind, field in ((GitHubActionsToken, "audience"), (AzurePipelinesToken, "service")):
        with pytest.raises(InvalidConfigurationError) as caught:
            kind(value)
        assert caught.value.field.startswith(field)


def test_reprs():
    """The repr says what is asked for."""
    assert repr(GitHubActionsToken("a")) == "GitHubActionsToken('a')"
    assert repr(AzurePipelinesToken("a")) == "AzurePipelinesToken('a')"
