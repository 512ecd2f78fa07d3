"""The cookbook's page on PyGithub, with a stub of GitHub's API over TLS."""

import pytest
from github import BadCredentialsException, Github
from github.Requester import Requester
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.guarded import Guarded, certificate_in


class GitHub(Guarded):
    """A stub that knows one user."""

    def granted(self, request):
        assert request.path == "/user", request.path
        return Answer(body={"login": "ada"})

    def refused(self, request):
        return Answer(401, {"message": "Bad credentials"})


@pytest.fixture
def certificate(tmp_path):
    """Return the certificate of the stub."""
    return certificate_in(tmp_path)


@pytest.fixture
def stub(server, certificate, monkeypatch):
    """Return the stub; clients trust it."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca))
    with GitHub(server.is_alive, tls=certificate.context, name="localhost") as stub:
        yield stub
    Requester.resetConnectionClasses()


def client_of(stub, source):
    """Return a client that does not pause between requests."""
    auth = example("pygithub").KeeperToken(source)
    return Github(base_url=stub.origin, auth=auth, seconds_between_requests=None, retry=None)


def test_a_crowd_recovers_with_one_renewal(server, source, stub, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    example("pygithub").renew_refused_tokens(source)
    with client_of(stub, source) as github:

        def login():
            return github.get_user().login

        assert crowd(8, login) == ["ada"] * 8
        server.revoke_all()
        assert crowd(8, login) == ["ada"] * 8
    assert requests_of() == 2


def test_an_auth_alone_does_not_recover(server, source, stub, requests_of):
    """An Auth is asked for a token, and never hears of the 401."""
    with client_of(stub, source) as github:
        assert github.get_user().login == "ada"
        server.revoke_all()
        with pytest.raises(BadCredentialsException):
            assert github.get_user().login
        source.renew_refused(source())  # what the caller can do
        assert github.get_user().login == "ada"
    assert requests_of() == 2


def test_the_example_runs(run_example, stub, certificate):
    """The example reads the name of the user."""
    variables = {"GITHUB_API_URL": stub.origin, "REQUESTS_CA_BUNDLE": certificate.ca}
    assert run_example("pygithub", **variables) == "ada\n"
