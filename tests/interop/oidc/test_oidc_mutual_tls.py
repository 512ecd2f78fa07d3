"""Mutual TLS at oidc-provider: certificates of a CA and self-signed ones, and bound tokens."""

import base64
import threading

import pytest
import requests
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm
from kit.guards import GUARD_SECONDS, until
from kit.servers.tls import ClientFiles, self_signed

from tokenkeeper import GenericOAuth2Provider, TokenAcquisitionError, TokenKeeper
from tokenkeeper.integrations.requests import CertificateAdapter, KeeperAuth
from tokenkeeper.oauth.client_certificate import TlsClientAuth

BOUND = {"tls_client_certificate_bound_access_tokens": True}


@pytest.fixture(scope="module")
def authority():
    """Return the CA of the server and of its clients."""
    return trustme.CA()


@pytest.fixture(scope="module")
def origin(oidc, authority):
    """Return the origin of the server by TLS."""
    return oidc.listen_by_tls(authority)


@pytest.fixture
def client_id(request):
    """Return a client id that no other test uses."""
    return f"mtls-{request.node.name}"


@pytest.fixture
def ca_file(authority, tmp_path):
    """Return the file of the CA."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


@pytest.fixture
def files(authority, tmp_path):
    """Return the files of a client with a certificate of the CA."""
    return ClientFiles(authority, tmp_path)


@pytest.fixture
def register(server):
    """Return a function that registers a client by the name in its certificate."""

    def register(client_id, name="client.test", **registration):
        server.add_client(
            client_id,
            token_endpoint_auth_method="tls_client_auth",
            tls_client_auth_san_dns=name,
            **registration,
        )

    return register


@pytest.fixture
def make(server, origin, ca_file, client_id):
    """Return a function that makes a provider of the client at the server."""

    def make(auth, origin=origin):
        config = server.config("api", client_id, client_secret=None, token_url=f"{origin}/token")
        return GenericOAuth2Provider(config, client_auth=auth, verify=ca_file)

    return make


def test_a_certificate_of_a_ca(server, register, client_id, make, files, make_keeper):
    """The server identifies the client by its id and the name in its certificate."""
    register(client_id)
    keeper = make_keeper(make(TlsClientAuth(*files.paths)))
    assert server.call(keeper.get_token("api"))[1]["client_id"] == client_id
    files.replace()
    keeper.get_token("api", force_refresh=True)
    assert server.stats(client_id)["token_requests"] == 2


def test_the_certificate_of_another_client(register, client_id, make, files):
    """A certificate with another name is refused by the server, and the error says so."""
    register(client_id, "other.test")
    with pytest.raises(TokenAcquisitionError) as raised:
        make(TlsClientAuth(*files.paths)).acquire_token()
    assert raised.value.error == "invalid_client"
    assert raised.value.transient is False


def test_a_certificate_of_another_ca(register, client_id, make, tmp_path):
    """A certificate that the server can't verify is refused, too."""
    register(client_id)
    strange = ClientFiles(trustme.CA(), tmp_path, "client.test")
    with pytest.raises(TokenAcquisitionError) as raised:
        make(TlsClientAuth(*strange.paths)).acquire_token()
    assert raised.value.error == "invalid_client"


def test_a_strict_listener(oidc, authority, make, tmp_path):
    """Node closes the connection without an alert; the error names the file nevertheless."""
    strict = oidc.listen_by_tls(authority, strict=True)
    strange = ClientFiles(trustme.CA(), tmp_path, "client.test")
    provider = make(TlsClientAuth(*strange.paths), origin=strict)
    with pytest.raises(TokenAcquisitionError) as raised:
        provider.acquire_token()
    assert f"whether the server accepts the certificate in {strange.paths[0]}" in str(raised.value)
    good = ClientFiles(authority, tmp_path, "good.test")
    with pytest.raises(TokenAcquisitionError) as raised:
        make(TlsClientAuth(*good.paths), origin=strict).acquire_token()
    assert raised.value.error == "invalid_client"  # it is not registered


def write_self_signed(folder):
    """Write a self-signed certificate and its key; return the paths, and its JWK with ``x5c``."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = self_signed(key)
    paths = folder / "self.crt", folder / "self.key"
    paths[0].write_bytes(certificate)
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    der = base64.b64decode(b"".join(certificate.splitlines()[1:-1]))
    public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return paths, {**public, "x5c": [base64.b64encode(der).decode()]}


def test_a_self_signed_certificate(server, client_id, make, make_keeper, tmp_path):
    """A certificate that is registered itself is accepted; another one is refused."""
    paths, jwk = write_self_signed(tmp_path)
    method = "self_signed_tls_client_auth"
    server.add_client(client_id, token_endpoint_auth_method=method, jwks={"keys": [jwk]})
    auth = TlsClientAuth(*paths, self_signed=True)
    keeper = make_keeper(make(auth))
    assert server.call(keeper.get_token("api"))[0] == 200
    write_self_signed(tmp_path)
    with pytest.raises(TokenAcquisitionError) as raised:
        make(auth).acquire_token()
    assert raised.value.error == "invalid_client"


@pytest.fixture
def session(make, files, ca_file):
    """Return a session at the API, which presents the certificate that its tokens are bound to."""
    auth = TlsClientAuth(*files.paths)
    with TokenKeeper() as keeper, requests.Session() as session:
        keeper.add_provider(make(auth))
        session.mount("https://", CertificateAdapter(auth, pool_maxsize=20))
        session.verify = ca_file
        session.auth = KeeperAuth(keeper, "api")
        yield session


def test_a_bound_token(server, register, client_id, origin, files, session):
    """A token is accepted with its certificate only; after a renewal there is a new one."""
    register(client_id, **BOUND)
    answer = session.get(f"{origin}/resource")
    assert answer.json()["client_id"] == client_id
    token = answer.request.headers["Authorization"].partition(" ")[2]
    assert server.call(token)[0] == 401
    files.replace()
    answer = session.get(f"{origin}/resource")
    assert answer.status_code == 200
    assert [each.status_code for each in answer.history] == [401]
    assert server.stats(client_id)["token_requests"] == 2


@pytest.mark.slow
def test_certificates_replaced_under_load(register, server, client_id, origin, files, session):
    """While certificate and key are replaced one after the other, each of 8 callers succeeds."""
    register(client_id, **BOUND)
    answers, ended = [], threading.Event()
    started = threading.Barrier(9)

    def work():
        answers.append(session.get(f"{origin}/resource").status_code)
        started.wait(GUARD_SECONDS)
        while not ended.is_set():
            answers.append(session.get(f"{origin}/resource").status_code)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait(GUARD_SECONDS)
    for renewals in (2, 3, 4):  # a fourth within seconds would be taken for a fault of the API
        files.replace()
        until(lambda renewals=renewals: server.stats(client_id)["token_requests"] == renewals)
        reached = len(answers) + 60
        until(lambda reached=reached: len(answers) >= reached)
    ended.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {200}
    assert server.stats(client_id)["token_requests"] == 4


@pytest.mark.slow
def test_token_requests_while_files_are_written(register, server, client_id, make, files):
    """24 threads request tokens while the files are written over and over: none fails."""
    register(client_id)
    provider = make(TlsClientAuth(*files.paths))
    ended, granted, failed = threading.Event(), [], []

    def work():
        while not ended.is_set():
            try:
                granted.append(provider.acquire_token().access_token)
            except TokenAcquisitionError as error:
                failed.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    until(lambda: files.replace() or failed or len(granted) >= 200)
    ended.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(set(granted)) == len(granted)
