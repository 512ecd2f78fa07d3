"""Mutual TLS on the wire: each request presents its client's certificate, and no other one does."""

import pickle
import socket
import ssl
import threading
from contextlib import suppress

import pytest
import requests
import requests.adapters
import trustme
from kit.guards import GUARD_SECONDS
from kit.oauth_client import oauth_client
from kit.servers.base import LoopbackServer
from kit.servers.mutual_tls import MutualTlsServer
from kit.servers.tls import ClientFiles, context_of
from kit.servers.tunnels import forward

from tokenkeeper import GenericOAuth2Provider, OAuth2Config
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client_certificate import TlsClientAuth


@pytest.fixture
def server(authority):
    """Return a server that takes a certificate, and requests without one as well."""
    with MutualTlsServer(authority, required=False) as server:
        yield server


@pytest.fixture
def make_files(authority, tmp_path):
    """Return a factory for the files of a client."""
    return lambda name, issuer=authority: ClientFiles(issuer, tmp_path, name)


class HttpsProxy(LoopbackServer):
    """A proxy that is connected to by TLS, and would take a certificate.

    :ivar presented: the certificate of each connection, or ``None``.
    """

    def __init__(self, authority):
        context = context_of(authority, "127.0.0.1")
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_OPTIONAL
        self.presented = []
        super().__init__(tls=context)

    def finish_request(self, request, client_address):
        with self.tls.wrap_socket(request, server_side=True) as near:
            self.presented.append(near.getpeercert(binary_form=True))
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096)
            port = int(head.split()[1].rpartition(b":")[2])
            with socket.create_connection(("127.0.0.1", port)) as far:
                near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                forward(near, far)


def through_the_path(options, ca_file, monkeypatch, authority):
    options["verify"] = ca_file


def through_the_environment(options, ca_file, monkeypatch, authority):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", ca_file)


def through_nothing(options, ca_file, monkeypatch, authority):
    options["verify"] = False


def through_a_session(options, ca_file, monkeypatch, authority):
    options["session"] = session = requests.Session()
    session.verify = ca_file


def through_a_proxy(options, ca_file, monkeypatch, authority):
    options["verify"] = ca_file
    proxy = HttpsProxy(authority)
    monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
    return proxy


WAYS = [
    through_the_path,
    through_the_environment,
    pytest.param(through_nothing, marks=pytest.mark.slow),  # it loads all public CAs
    through_a_session,
    through_a_proxy,
]


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: getattr(way, "__name__", None))
def test_two_clients_in_eight_threads(server, make_files, monkeypatch, authority, ca_file, way):
    """Each request presents its own client's certificate, and those without one present none."""
    options = {}
    proxy = way(options, ca_file, monkeypatch, authority)
    files = {name: make_files(name) for name in ("one", "two")}
    expected = {name: each.thumbprint for name, each in files.items()} | {"none": None}
    providers = []
    for name in ("one", "two"):
        config = OAuth2Config(name, name, None, server.token_url)
        auth = TlsClientAuth(*files[name].paths)
        providers.append(GenericOAuth2Provider(config, client_auth=auth, **options))
    config = OAuth2Config("none", "none", None, server.token_url)
    bare = GenericOAuth2Provider(config, token_endpoint_auth_method="none", **options)
    start = threading.Barrier(8)

    def ask(number):
        start.wait(GUARD_SECONDS)
        for step in range(6):
            [*providers, bare][(number + step) % 3].acquire_token()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if proxy is not None:
        proxy.__exit__()
        assert proxy.presented == [None] * 48
    assert len(server.granted) == 48
    assert {name for name, _ in server.granted} == set(expected)
    assert [(name, expected[name]) for name, _ in server.granted] == server.granted


@pytest.fixture
def make_provider(server, ca_file):
    """Return a factory for providers of a client with a certificate."""

    def make(files, **options):
        url = options.pop("url", server.token_url)
        auth = TlsClientAuth(*files.paths)
        options = {"verify": ca_file, **options}
        return GenericOAuth2Provider(
            OAuth2Config("api", "me", None, url), client_auth=auth, **options
        )

    return make


def failure(provider):
    """Return the error of a token request."""
    with pytest.raises(TokenAcquisitionError) as raised:
        provider.acquire_token()
    assert raised.value.network_reason == "tls"
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_new_certificate(server, make_files, make_provider):
    """A certificate that was replaced is presented from the next request on."""
    files = make_files("me")
    provider = make_provider(files)
    provider.acquire_token()
    files.replace()
    provider.acquire_token()
    assert [seen for _, seen in server.granted] == files.seen


def test_a_certificate_of_the_session(server, make_files, make_provider):
    """A certificate of the caller's session is replaced in our request, and left in the session."""
    session = requests.Session()
    session.cert = make_files("theirs").paths
    files = make_files("me")
    make_provider(files, session=session).acquire_token()
    assert server.granted == [("me", files.thumbprint)]
    assert session.cert[0].endswith("theirs.crt")


def test_a_certificate_of_an_adapter(server, make_files, make_provider):
    """A certificate that an adapter presents on all its connections is not presented in ours."""
    cert, key = make_files("theirs").paths

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args, **kwargs):
            super().init_poolmanager(*args, cert_file=cert, key_file=key, **kwargs)

    session = requests.Session()
    session.mount("https://", Adapter())
    files = make_files("me")
    make_provider(files, session=session).acquire_token()
    assert server.granted == [("me", files.thumbprint)]


@pytest.mark.parametrize("where", ["pool", "key"])
def test_a_context_of_an_adapter(server, make_files, make_provider, where):
    """A context of the caller's is refused: it would present the certificate in other requests."""
    context = ssl.create_default_context()

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args, **kwargs):
            given = {"ssl_context": context} if where == "pool" else {}
            super().init_poolmanager(*args, **given, **kwargs)

        def build_connection_pool_key_attributes(self, *args, **kwargs):
            host, pool = super().build_connection_pool_key_attributes(*args, **kwargs)
            return host, {**pool, "ssl_context": context} if where == "key" else pool

    session = requests.Session()
    session.mount("https://", Adapter())
    error = failure(make_provider(make_files("me"), session=session))
    assert "has an ssl_context" in str(error)
    assert error.transient is False
    assert server.received == []


VERSIONS = {
    "ssl_version": ssl.PROTOCOL_TLSv1_2,
    "ssl_maximum_version": ssl.TLSVersion.TLSv1_2,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("option", VERSIONS)
def test_settings_of_an_adapter(authority, make_files, make_provider, option):
    """Versions of TLS that an adapter sets apply to requests with a certificate, too."""

    class Adapter(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args, **kwargs):
            super().init_poolmanager(*args, **{option: VERSIONS[option]}, **kwargs)

    session = requests.Session()
    session.mount("https://", Adapter())
    with MutualTlsServer(authority, oldest=ssl.TLSVersion.TLSv1_3) as newer:
        provider = make_provider(make_files("me"), session=session, url=newer.token_url)
        assert "TLS failed" in str(failure(provider))


class Foreign(requests.adapters.BaseAdapter):
    """An adapter without urllib3, which notes the certificate that it gets."""

    def send(self, request, **options):
        self.cert = options["cert"]
        response = requests.Response()
        response.status_code = 200
        response._content = b'{"access_token": "t", "token_type": "Bearer", "expires_in": 60}'
        return response

    def close(self):
        pass


def test_an_adapter_without_urllib3(make_files, make_provider):
    """An adapter that connects in its own way gets the paths, as requests gives them."""
    session = requests.Session()
    adapter = Foreign()
    session.mount("https://", adapter)
    files = make_files("me")
    make_provider(files, session=session).acquire_token()
    assert adapter.cert == files.paths


def test_a_session_of_another_kind(make_files, make_provider):
    """An object that only behaves like a session gets the paths, too."""

    class Session:
        def __init__(self):
            self.headers = {}

        def request(self, **options):
            self.cert = options["cert"]
            return Foreign().send(None, **options)

    session = Session()
    files = make_files("me")
    make_provider(files, session=session).acquire_token()
    assert session.cert == files.paths


def test_plain_http(make_files, make_provider, server):
    """Nothing is sent without TLS, even on loopback."""
    provider = make_provider(make_files("me"), url=server.token_url.replace("https:", "http:"))
    with pytest.raises(TokenAcquisitionError, match="over plain http") as raised:
        provider.acquire_token()
    assert raised.value.transient is False
    assert server.connections == 0


def test_a_certificate_that_does_not_load(make_files, make_provider, monkeypatch):
    """If TLS can't use files that are being replaced, the request is tried again later."""
    files = make_files("me")
    provider = make_provider(files)
    monkeypatch.delattr("os.memfd_create", raising=False)
    monkeypatch.setattr(
        "tokenkeeper.oauth.certificate_files.CertificateFiles._read_again",
        lambda _, pair: files.key.write_bytes(files.issue()[1]) and pair,
    )
    error = failure(provider)
    assert "TLS can't use the certificate" in str(error)
    assert error.transient is True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_issuer_that_the_server_does_not_know(authority, make_files, make_provider, version):
    """The server's alert is explained with the name of the file, whenever TLS sends it."""
    files = make_files("me", issuer=trustme.CA())
    with MutualTlsServer(authority, version=version) as strict:
        error = failure(make_provider(files, url=strict.token_url))
    assert "does not trust the issuer of the client certificate in " + files.paths[0] in str(error)
    assert error.transient is False


def test_no_certificate_at_a_server_that_wants_one(authority, ca_file):
    """A client without a certificate is advised to have one."""
    with MutualTlsServer(authority) as strict:
        config = OAuth2Config("api", "me", "secret", strict.token_url)
        error = failure(GenericOAuth2Provider(config, verify=ca_file))
    assert "TLS: client certificate required. " in str(error)
    assert "Authenticate with TlsClientAuth" in str(error)


ALERTS = {
    "sslv3 alert certificate expired": "has expired or is not valid yet",
    "ssl/tls alert certificate revoked": "was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "does not accept the client certificate",
    "sslv3 alert bad certificate": "does not accept the client certificate",
    "sslv3 alert unsupported certificate": "does not support the kind",
    "tlsv1 alert unknown ca": "does not trust the issuer",
    "tlsv1 alert access denied": "denies access",
    "tlsv13 alert certificate required": "did not get the one in",
}


@pytest.mark.parametrize(("alert", "text"), ALERTS.items(), ids=ALERTS)
def test_alerts(make_files, make_provider, monkeypatch, alert, text):
    """Each alert about a certificate says what is wrong with which file."""
    files = make_files("me")
    provider = make_provider(files)

    def connect(*_, **__):
        raise ssl.SSLError(1, f"[SSL] {alert} (_ssl.c:2651)")

    monkeypatch.setattr(socket.socket, "connect", connect)
    error = failure(provider)
    assert text in str(error)
    assert files.paths[0] in str(error)
    assert error.transient is False


def test_another_failure_of_tls(make_files, make_provider, monkeypatch):
    """An error of TLS that is not about the certificate is explained as for any other client."""
    provider = make_provider(make_files("me"))

    def connect(*_, **__):
        raise ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert "TLS failed" in str(failure(provider))


def test_a_connection_that_is_closed_without_an_alert(authority, make_files, make_provider):
    """Some servers only close the connection. The advice then includes the certificate."""
    files = make_files("me")

    class Silent(LoopbackServer):
        def answer(self, request):
            return None

    with Silent(tls=context_of(authority, "127.0.0.1")) as silent, suppress(OSError):
        provider = make_provider(files, url=silent.origin)
        with pytest.raises(TokenAcquisitionError) as raised:
            provider.acquire_token()
    assert raised.value.network_reason == "connection_broken"
    assert f"whether the server accepts the certificate in {files.paths[0]}" in str(raised.value)


@pytest.mark.parametrize("presents", [True, False])
def test_a_handshake_that_is_closed_without_an_alert(authority, make_files, ca_file, presents):
    """A server that ends the handshake may want a certificate, or another one."""
    files = make_files("me")
    options = {"token_endpoint_auth_method": "none"}
    if presents:
        options = {"client_auth": TlsClientAuth(*files.paths)}
    with Closing(authority) as closing:
        config = OAuth2Config("api", "me", None, f"{closing.origin}/token")
        error = failure(GenericOAuth2Provider(config, verify=ca_file, **options))
    assert "TLS failed: the server ended the handshake. Check whether" in str(error)
    assert "requires a certificate from this client" in str(error)
    assert (f"accepts the certificate in {files.paths[0]}" in str(error)) is presents
    assert error.transient is True


class Closing(LoopbackServer):
    """Reads the beginning of a handshake, and closes the connection."""

    def __init__(self, authority):
        super().__init__(tls=context_of(authority, "127.0.0.1"))

    def finish_request(self, request, client_address):
        request.recv(65536)


class WithAlias:
    """A server with another token endpoint for clients with a certificate (RFC 8705 §5)."""

    shown = "https://as.test/token"

    def __init__(self, alias):
        self.alias = alias

    def issuer(self):
        return None

    def endpoint(self, name, *, with_certificate=False):
        return self.alias if with_certificate else self.shown


def test_an_endpoint_for_clients_with_a_certificate(server, make_files, make_transport, ca_file):
    """A client with a certificate sends its request to the endpoint that the server has for it."""
    files = make_files("me")
    config = OAuth2Config("api", "me", None, WithAlias.shown)
    transport = make_transport(verify=ca_file)
    auth = TlsClientAuth(*files.paths)
    client = oauth_client(config, transport, auth=auth, server=WithAlias(server.token_url))
    exchange = client.post("token_endpoint", lambda to: {"seen": to.audience})
    assert exchange.answer.status == 200
    assert server.granted == [("me", files.thumbprint)]
    assert ("seen", WithAlias.shown) in server.received[0].form


def test_another_process(server, make_files, ca_file):
    """A provider that is made again in another process reads its certificate there."""
    files = make_files("me")
    config = OAuth2Config(
        "api", "me", None, server.token_url, additional_params={"refresh_token": "r"}
    )
    original = GenericOAuth2Provider(
        config,
        grant_type="refresh_token",
        client_auth=TlsClientAuth(*files.paths),
        verify=ca_file,
    )
    copied = pickle.dumps(original.for_another_process())
    assert files.key.read_bytes().splitlines()[1] not in copied
    files.replace()
    pickle.loads(copied)().acquire_token()
    assert server.granted == [("me", files.thumbprint)]
