"""Tokens that are bound to a certificate (RFC 8705 §3), at an API over mutual TLS."""

import threading

import pytest
import requests
import trustme
from kit.guards import GUARD_SECONDS, until
from kit.servers.mutual_tls import MutualTlsServer
from kit.servers.tls import ClientFiles

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenKeeper
from tokenkeeper.integrations.requests import CertificateAdapter, KeeperAuth
from tokenkeeper.oauth.client_certificate import TlsClientAuth


@pytest.fixture(scope="module")
def authority():
    """Return a CA that no machine knows."""
    return trustme.CA()


@pytest.fixture
def server(authority):
    """Return a server of tokens, with an API that checks to which certificate they are bound."""
    with MutualTlsServer(authority) as server:
        yield server


class PairInOneFile(ClientFiles):
    """A certificate with its key in one file, which is replaced in one step."""

    def replace(self, **validity):
        certificate, key = self.issue(**validity)
        new = self.certificate.with_suffix(".new")
        new.write_bytes(certificate + key)
        new.rename(self.certificate)


@pytest.fixture
def files(authority, tmp_path):
    """Return the file of a client."""
    return PairInOneFile(authority, tmp_path)


@pytest.fixture
def keeper(authority, server, files, tmp_path):
    """Return a keeper with a provider whose client has a certificate."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    provider = GenericOAuth2Provider(
        OAuth2Config("api", "me", None, server.token_url),
        client_auth=TlsClientAuth(files.certificate),
        verify=tmp_path / "ca.pem",
    )
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        yield keeper


@pytest.fixture
def make_session(keeper, files, tmp_path):
    """Return a factory for sessions that present the certificate and the token."""
    sessions = []

    def make():
        session = requests.Session()
        session.cert = str(files.certificate)
        session.verify = str(tmp_path / "ca.pem")
        session.auth = KeeperAuth(keeper, "api")
        sessions.append(session)
        return session

    yield make
    for session in sessions:
        session.close()


def call(session, server, **options):
    """Return the status of a call of the API."""
    return session.post(f"{server.origin}/orders", **options).status_code


def test_a_connection_with_the_old_certificate(server, files, make_session):
    """A connection that was opened before a renewal goes on with the token of that time."""
    session = make_session()
    assert call(session, server) == 200
    files.replace()
    assert call(session, server) == 200
    assert len(server.granted) == 1


def test_a_token_of_the_old_certificate(server, files, make_session):
    """A new connection presents the new certificate; the token is renewed for it."""
    assert call(make_session(), server) == 200
    files.replace()
    session = make_session()
    assert call(session, server) == 200
    assert call(session, server) == 200
    assert [seen for _, seen in server.granted] == files.seen
    assert server.refused == 2


def test_a_new_token_on_an_old_connection(server, files, make_session, keeper):
    """A refusal because of an old certificate does not cause a renewal of the token."""
    session = make_session()
    assert call(session, server) == 200
    files.replace()
    keeper.get_token("api", force_refresh=True)
    answer = session.get(f"{server.origin}/orders")
    assert answer.status_code == 200
    assert [each.status_code for each in answer.history] == [401]
    assert [seen for _, seen in server.granted] == files.seen


def test_the_history_of_two_refusals(server, files, make_session, keeper):
    """The answer has all refusals in its history, in order."""
    call(make_session(), server)
    files.replace()
    answer = make_session().get(f"{server.origin}/orders")
    assert [each.status_code for each in answer.history] == [401, 401]


def test_a_body_that_can_be_read_once(server, files, make_session, keeper):
    """A generator's body is not sent again: its caller gets the 401, and the next call succeeds."""
    session = make_session()
    call(session, server)
    files.replace()
    keeper.get_token("api", force_refresh=True)
    assert call(session, server, data=iter([b"a", b"b"])) == 401
    assert call(session, server) == 200


def test_an_adapter_of_another_kind(server, make_session, keeper):
    """An adapter without pools of urllib3 is not closed, and the request is sent twice at most."""

    class Counting(requests.adapters.BaseAdapter):
        closed, calls = 0, 0

        def send(self, request, **options):
            response = requests.Response()
            Counting.calls += 1
            response.status_code, response.request = 401, request
            response._content, response.connection = b"", self
            return response

        def close(self):
            Counting.closed += 1

    session = make_session()
    session.mount("https://", Counting())
    assert session.get(f"{server.origin}/orders").status_code == 401
    assert (Counting.calls, Counting.closed) == (2, 0)


@pytest.fixture
def two_files(authority, tmp_path):
    """Return the files of a client, one for the key, which are replaced one after the other."""
    return ClientFiles(authority, tmp_path, "two.test")


@pytest.fixture
def auth(keeper, server, two_files, tmp_path):
    """Return the authentication of a client "two", which the keeper has as well."""
    auth = TlsClientAuth(*two_files.paths)
    config = OAuth2Config("two", "two", None, server.token_url)
    verify = tmp_path / "ca.pem"
    keeper.add_provider(GenericOAuth2Provider(config, client_auth=auth, verify=verify))
    return auth


@pytest.fixture
def session(keeper, auth, tmp_path):
    """Return a session that presents the certificate of the client "two"."""
    with requests.Session() as session:
        session.mount("https://", CertificateAdapter(auth, pool_maxsize=20))
        session.verify = str(tmp_path / "ca.pem")
        session.auth = KeeperAuth(keeper, "two")
        yield session


def test_an_adapter_with_the_certificate_of_the_client(server, two_files, session, keeper):
    """Connections are used again until the certificate is replaced, and then no more."""
    assert [call(session, server) for _ in range(3)] == [200] * 3
    before = server.connections
    assert call(session, server) == 200
    assert server.connections == before
    two_files.replace()
    keeper.get_token("two", force_refresh=True)
    answer = session.get(f"{server.origin}/orders")
    assert (answer.status_code, answer.history) == (200, [])
    assert answer.json() == {"x5t#S256": two_files.thumbprint}
    assert server.refused == 0


def test_a_certificate_of_the_session_beside_an_adapter(server, files, two_files, session):
    """The adapter's certificate is presented, whatever the session's is."""
    session.cert = str(files.certificate)
    assert session.get(f"{server.origin}/orders").json() == {"x5t#S256": two_files.thumbprint}


@pytest.mark.slow
def test_certificates_replaced_under_load(server, two_files, session):
    """Eight threads call an API while certificate and key are replaced: each call succeeds."""
    answers, ended = [], threading.Event()
    started = threading.Barrier(9)

    def work():
        answers.append(call(session, server))
        started.wait(GUARD_SECONDS)
        while not ended.is_set():
            answers.append(call(session, server))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait(GUARD_SECONDS)
    for _ in range(3):  # a fourth renewal within seconds would be taken for a fault of the API
        two_files.replace()
        until(lambda: ("two", two_files.thumbprint) in server.granted)
        reached = len(answers) + 60
        until(lambda reached=reached: len(answers) >= reached)
    ended.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {200}
    assert [seen for _, seen in server.granted] == two_files.seen
