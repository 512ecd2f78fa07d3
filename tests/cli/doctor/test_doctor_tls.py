"""``tokenkeeper doctor`` over TLS: certificates of all kinds, proxies, and Entra ID."""

import json
import os
import socket
import ssl
import threading
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from servers.ailing import SECRET, AilingServer, ConnectProxy
from servers.entra import CLIENT_ID, TENANT, Entra
from servers.entra import SECRET as ENTRA_SECRET

from tokenkeeper.doctor.certificate import read_certificate
from tokenkeeper.doctor.findings import Step
from tokenkeeper.doctor.route import find_route


@pytest.fixture
def authority(tmp_path, environment):
    """Return a CA that this machine knows, by REQUESTS_CA_BUNDLE."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return authority


@pytest.fixture
def context_of(authority):
    """Make the TLS context of a server whose certificate is of the CA, unless another is given."""

    def context_of(host="127.0.0.1", issued_by=authority, **validity):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued_by.issue_cert(host, **validity).configure_cert(context)
        return context

    return context_of


@pytest.fixture
def secure(context_of, describe):
    """Start a server with such a certificate, and describe a client of it."""
    with ExitStack() as stack:

        def secure(*arguments, name="127.0.0.1", **options):
            server = AilingServer(context_of(*arguments, **options), name=name)
            stack.enter_context(server)
            describe(server.token_url)
            return server

        yield secure


def in_days(days):
    return datetime.now(UTC) + timedelta(days=days)


class TestCertificates:
    """What a server shows of itself."""

    def test_a_good_one(self, secure, examine, authority):
        """A good certificate is told with dates, names, issuer, protocol and the CAs that count."""
        secure(not_after=in_days(100.1))
        code, seen = examine()
        assert code == 0
        tls = seen["tls"]
        assert tls.status == "ok"
        assert f"to {in_days(100.1):%Y-%m-%d}" in tls.text
        assert "100 days left" in tls.text
        assert "for 127.0.0.1; issuer " in tls.text
        assert f"verified by {os.environ['REQUESTS_CA_BUNDLE']} (REQUESTS_CA_BUNDLE)" in tls.text
        assert tls.facts["version"] == "TLSv1.3"
        assert tls.facts["hosts"] == ["127.0.0.1"]

    @pytest.mark.parametrize(
        ("days", "status", "left"),
        [(0.4, "warning", "9 hours"), (13.9, "warning", "13 days"), (14.1, "ok", "14 days")],
    )
    def test_one_that_ends_soon(self, secure, examine, days, status, left):
        """A certificate that ends within 14 days draws a warning; the last days count in hours."""
        secure(not_after=in_days(days))
        code, seen = examine()
        assert code == 0
        assert seen["tls"].status == status
        assert f" UTC, {left} left" in seen["tls"].text

    def test_one_that_ended(self, secure, examine):
        """An expired certificate fails TLS, and the day is told."""
        secure(not_after=datetime(2024, 5, 6, 7, 8, tzinfo=UTC))
        code, seen = examine()
        assert code == Step.TLS
        assert "ended on 2024-05-06 07:08 UTC" in seen["tls"].text
        assert seen["tls"].facts["not_after"] == "2024-05-06T07:08:00+00:00"
        assert seen.skipped_after(Step.TLS)

    def test_one_above_it_that_ended(self, secure, examine, authority, monkeypatch):
        """An intermediate that expired is told from the server's own, which is in its time."""
        with monkeypatch.context() as past:
            past.setattr(trustme, "DEFAULT_EXPIRY", datetime(2024, 5, 6, tzinfo=UTC))
            middle = authority.create_child_ca()
        secure(issued_by=middle, not_after=in_days(100))
        code, seen = examine()
        assert code == Step.TLS
        assert "own certificate is in its time" in seen["tls"].text
        assert "it was issued by has ended" in seen["tls"].text
        assert "renew what it sends along" in seen["tls"].advice

    def test_one_that_begins_later(self, secure, examine):
        """A certificate that is not valid yet fails TLS, and the day is told."""
        secure(
            not_before=datetime(2150, 1, 2, tzinfo=UTC), not_after=datetime(2151, 1, 1, tzinfo=UTC)
        )
        code, seen = examine()
        assert code == Step.TLS
        assert "begins on 2150-01-02" in seen["tls"].text

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
    def test_one_of_another_host(self, secure, examine, name):
        """A certificate of another host fails TLS, and both hosts are told."""
        secure("other.example", name=name)
        code, seen = examine()
        assert code == Step.TLS
        assert f"the certificate is not for {name}" in seen["tls"].text
        assert "for other.example" in seen["tls"].text
        assert "check the host" in seen["tls"].advice

    def test_one_of_an_unknown_ca(self, secure, examine):
        """A certificate of a CA that nobody knows fails TLS, and names issuer and bundle."""
        secure(issued_by=trustme.CA(organization_name="Strangers"))
        code, seen = examine()
        assert code == Step.TLS
        assert "issued by a CA that we do not know" in seen["tls"].text
        assert "Strangers" in seen["tls"].text
        assert os.environ["REQUESTS_CA_BUNDLE"] in seen["tls"].advice

    @pytest.mark.parametrize("der", [None, b"", b"junk"])
    def test_one_that_is_none(self, der):
        """Bytes that are no certificate are no reason to fail."""
        assert read_certificate(der) is None

    def test_one_whose_fields_say_more_than_names(self):
        """What a certificate says of itself is shown as one tame line."""
        wild = trustme.CA(organization_name="Evil\x1b[31m\nCorp")
        certificate = read_certificate(ssl.PEM_cert_to_DER_cert(wild.cert_pem.bytes().decode()))
        assert "Evil?[31m?Corp" in certificate.subject

    def test_one_without_its_intermediate(self, secure, examine, authority):
        """A server that leaves out an intermediate is told as such a possibility."""
        middle = authority.create_child_ca()
        leaf = middle.issue_cert("127.0.0.1")
        server = secure()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with leaf.private_key_pem.tempfile() as key, leaf.cert_chain_pems[0].tempfile() as cert:
            context.load_cert_chain(cert, key)
        server._context = context
        code, seen = examine()
        assert code == Step.TLS
        assert "left out an intermediate" in seen["tls"].advice

    def test_a_self_signed_one(self, secure, examine, tmp_path):
        """A certificate that nobody signed is told as self-signed."""
        server = secure()
        alone = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = tmp_path / "alone.pem"
        pem.write_bytes(alone.private_key_pem.bytes() + alone.cert_pem.bytes())
        context.load_cert_chain(pem)
        server._context = context
        code, seen = examine()
        assert code == Step.TLS
        assert "is self-signed, and not among our CAs" in seen["tls"].text

    def test_the_cas_of_a_provider(self, secure, run, environment, tmp_path):
        """A provider's own CAs count before the environment's, and are told."""
        server = secure()
        (tmp_path / "tokens.yaml").write_text(
            "oauth2: {provider_name: api, provider_type: generic, client_id: i, verify: ca.pem,"
            f" client_secret: '${{SECRET}}', token_url: '{server.token_url}'}}\n"
        )
        environment.setenv("SECRET", SECRET)
        environment.setenv("REQUESTS_CA_BUNDLE", os.devnull)
        result = run("--config", str(tmp_path / "tokens.yaml"), "doctor")
        assert result.exit_code == 0
        assert f"verified by {tmp_path / 'ca.pem'} (verify)" in result.stdout

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    def test_no_verification_draws_a_warning(self, secure, run, environment, tmp_path):
        """A provider that verifies nothing works, and is warned."""
        server = secure("other.example", not_after=in_days(-3))
        (tmp_path / "tokens.yaml").write_text(
            "oauth2: {provider_name: api, provider_type: generic, client_id: i, verify: false,"
            f" client_secret: '${{SECRET}}', token_url: '{server.token_url}'}}\n"
        )
        environment.setenv("SECRET", SECRET)
        result = run("--config", str(tmp_path / "tokens.yaml"), "doctor")
        assert result.exit_code == 0
        assert "the certificate is not verified" in result.stdout
        assert "ended 3 days ago" in result.stdout

    @pytest.mark.parametrize(
        ("content", "words"), [(None, "is not there"), (b"no PEM", "holds no CA certificate")]
    )
    def test_a_bundle_that_is_none(self, secure, examine, environment, tmp_path, content, words):
        """A bundle without a CA fails TLS, and the variable that names it is told."""
        secure()
        bundle = tmp_path / "bundle.pem"
        if content is not None:
            bundle.write_bytes(content)
        environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        code, seen = examine()
        assert code == Step.TLS
        assert words in seen["tls"].text
        assert "correct REQUESTS_CA_BUNDLE" in seen["tls"].advice


class TestHandshakes:
    """Where there is no certificate to look at."""

    def test_a_port_without_tls(self, describe, examine, server):
        """A port that speaks plain HTTP is told from one whose certificate is bad."""
        describe(server.token_url.replace("http:", "https:"))
        code, seen = examine()
        assert code == Step.TLS
        assert seen["tls"].text == f"port {server.server_port} of 127.0.0.1 does not speak TLS"

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_protocol_of_yore(self, secure, examine):
        """A server that knows old versions of TLS alone is told so."""
        server = secure()
        server._context.set_ciphers("ALL:@SECLEVEL=0")
        server._context.minimum_version = ssl.TLSVersion.TLSv1
        server._context.maximum_version = ssl.TLSVersion.TLSv1_1
        code, seen = examine()
        assert code == Step.TLS
        assert "no version of TLS in common" in seen["tls"].text

    def test_a_server_that_says_nothing(self, describe, examine):
        """A handshake that nobody answers is given up after the timeout."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            describe(f"https://127.0.0.1:{listener.getsockname()[1]}/token")
            code, seen = examine("--timeout", "0.2")
        assert code == Step.TLS
        assert "no handshake within 0.2 s" in seen["tls"].text

    def test_an_address_that_refuses(self, secure, examine, environment):
        """The handshake goes to the address that accepted, and not to the first one."""
        port = secure("localhost", name="localhost").server_port
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("127.0.0.2", "127.0.0.1")
        ]
        real = socket.getaddrinfo

        def look_up(host, *rest, **options):
            return found if host == "localhost" else real(host, *rest, **options)

        environment.setattr(socket, "getaddrinfo", look_up)
        code, seen = examine()
        assert code == 0
        assert seen["tcp"].status == "warning"
        assert seen["tls"].facts["hosts"] == ["localhost"]

    def test_ciphers_that_nobody_shares(self, secure, examine):
        """A server that wants ciphers we do not have is told so."""
        server = secure()
        server._context.maximum_version = ssl.TLSVersion.TLSv1_2
        server._context.set_ciphers("AES128-SHA")
        code, seen = examine()
        assert code == Step.TLS
        assert "no parameters of TLS in common" in seen["tls"].text

    def test_a_server_that_hangs_up(self, describe, examine):
        """A connection that ends in the handshake points at what stands between."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            describe(f"https://127.0.0.1:{listener.getsockname()[1]}/token")

            def hang_up():
                for _ in range(2):  # TCP, then TLS
                    connection, _ = listener.accept()
                    connection.recv(1)
                    connection.close()

            thread = threading.Thread(target=hang_up)
            thread.start()
            code, seen = examine()
            thread.join(20)
        assert code == Step.TLS
        assert seen["tls"].text == "the connection was closed in the handshake"


class TestProxy:
    """By way of an HTTP proxy."""

    @pytest.fixture
    def behind(self, context_of, describe, environment):
        """Put a server behind a proxy, under a name that only the proxy can resolve."""
        with ExitStack() as stack:

            def behind(credentials=None, forbids=False, shown=""):
                context = context_of("id.inside.invalid")
                server = stack.enter_context(AilingServer(context, name="id.inside.invalid"))
                target = None if forbids else server.server_port
                proxy = stack.enter_context(ConnectProxy(target, credentials))
                environment.setenv("HTTPS_PROXY", f"http://{shown}127.0.0.1:{proxy.port}")
                describe(server.token_url)
                return proxy

            yield behind

    def test_a_good_one(self, behind, examine):
        """DNS and TCP are tried to the proxy, TLS and all the rest through it."""
        proxy = behind()
        code, seen = examine()
        assert code == 0, seen
        assert seen["proxy"].text == f"http://127.0.0.1:{proxy.port}, from HTTPS_PROXY"
        assert seen["dns"].facts["host"] == "127.0.0.1"
        assert f"127.0.0.1:{proxy.port} accepts connections" in seen["tcp"].text
        assert seen["tls"].facts["hosts"] == ["id.inside.invalid"]
        assert len(proxy.asked) >= 3  # the handshake, the metadata, the token
        assert {each.partition(":")[0] for each in proxy.asked} == {"id.inside.invalid"}

    def test_credentials(self, behind, examine):
        """A proxy gets its credentials, which are shown to nobody."""
        behind(f"me:{SECRET}", shown=f"me:{SECRET}@")
        code, seen = examine()
        assert code == 0
        assert "with credentials" in seen["proxy"].text
        assert SECRET not in repr(find_route("https://id.inside.invalid", None))

    def test_credentials_that_are_missing(self, behind, examine):
        """A proxy that wants credentials is told as such."""
        behind(f"me:{SECRET}")
        code, seen = examine()
        assert code == Step.TLS
        assert seen["tls"].text == "the proxy wants credentials"

    def test_one_that_forbids_the_host(self, behind, examine):
        """A proxy that does not let us through is told with its status."""
        behind(forbids=True)
        code, seen = examine()
        assert code == Step.TLS
        assert "does not let us through to the server (HTTP 403)" in seen["tls"].text

    def test_a_refused_certificate_behind_it(self, behind, examine, environment):
        """The certificate of a server behind a proxy is read all the same."""
        behind()
        environment.delenv("REQUESTS_CA_BUNDLE")
        code, seen = examine()
        assert code == Step.TLS
        assert "issued by a CA that we do not know" in seen["tls"].text
        assert "for id.inside.invalid" in seen["tls"].text

    def test_one_that_hosts_are_kept_from(self, secure, examine, environment):
        """A host that NO_PROXY names is reached directly, and that is told."""
        secure()
        environment.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
        environment.setenv("NO_PROXY", "127.0.0.1")
        code, seen = examine()
        assert code == 0
        assert seen["proxy"].text == "none: NO_PROXY names 127.0.0.1"

    def test_one_that_is_not_there(self, describe, examine, environment):
        """A proxy that does not resolve fails DNS under its own name."""
        describe("https://id.example.com/token")
        environment.setenv("https_proxy", "proxy.invalid:3128")
        code, seen = examine()
        assert code == Step.DNS
        assert seen["proxy"].text == "http://proxy.invalid:3128, from https_proxy"
        assert seen["dns"].text.startswith("proxy.invalid: the proxy's name")

    @pytest.mark.parametrize("proxy", ["http://proxy:port", f"http://{SECRET}@:1", "http://[::1"])
    def test_one_that_can_not_be_read(self, describe, examine, environment, proxy):
        """A proxy whose URL can't be read fails, and its variable is named instead of it."""
        describe("https://id.example.com/token")
        environment.setenv("HTTPS_PROXY", proxy)
        code, seen = examine()
        assert code == Step.PROXY
        assert "HTTPS_PROXY can't be read" in seen["proxy"].text

    def test_one_by_tls(self, describe, examine, environment, server):
        """Through a proxy that is spoken to by TLS, the handshake is left to the requests."""
        describe("https://id.example.com/token")
        environment.setenv("HTTPS_PROXY", f"https://127.0.0.1:{server.server_port}")
        code, seen = examine()
        assert "left to the request for the metadata" in seen["tls"].text
        assert "proxy" in seen["metadata"].text
        assert code == Step.CREDENTIALS

    def test_one_that_needs_a_library(self, describe, examine, environment):
        """A SOCKS proxy without the library that requests needs for it fails at once."""
        describe("https://id.example.com/token")
        environment.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:1080")
        environment.setattr("tokenkeeper.doctor.network.find_spec", lambda name: None)
        code, seen = examine()
        assert code == Step.PROXY
        assert "requests[socks]" in seen["proxy"].advice


class TestEntra:
    """Azure's provider at a stand-in for Entra ID."""

    @pytest.fixture
    def entra(self, environment, tmp_path):
        """Return a running stand-in, and describe its client."""
        with Entra(tmp_path) as entra:
            environment.setenv("AZURE_CLIENT_ID", CLIENT_ID)
            environment.setenv("AZURE_CLIENT_SECRET", ENTRA_SECRET)
            environment.setenv("AZURE_TENANT_ID", TENANT)
            environment.setenv("AZURE_AUTHORITY_HOST", entra.authority)
            environment.setenv("REQUESTS_CA_BUNDLE", entra.ca_file)
            yield entra

    def test_a_good_one(self, entra, examine):
        """Entra's metadata are found at the authority, and the token is had by way of msal."""
        code, seen = examine()
        assert code == 0, seen
        assert f"{entra.authority}/{TENANT}/v2.0/.well-known" in seen["metadata"].text
        assert f"token endpoint {entra.authority}/{TENANT}/oauth2/v2.0" in seen["metadata"].text
        assert "AZURE_AUTHORITY_HOST is set" in seen["variables"].text
        assert seen["scope"].text == "all granted: https://graph.microsoft.com/.default"
        assert len(entra.requests) == 1

    def test_an_unknown_tenant(self, entra, examine, environment):
        """A tenant that is not there fails the metadata, with what Entra's number means."""
        environment.setenv("AZURE_TENANT_ID", "nobody.example")
        code, seen = examine()
        assert code == Step.METADATA
        assert "AADSTS90002" in seen["metadata"].text
        assert "the tenant does not exist: check tenant_id" in seen["metadata"].advice
        assert seen.skipped_after(Step.METADATA)
        assert not entra.requests

    def test_a_wrong_secret(self, entra, run, environment):
        """A wrong secret is told by Entra's number, and asked for once."""
        environment.setenv("AZURE_CLIENT_SECRET", "its-id-instead")
        result = run("doctor", "--json")
        assert result.exit_code == Step.CREDENTIALS
        assert "its-id-instead" not in result.output
        (provider,) = json.loads(result.stdout)["providers"]
        told = next(s for s in provider["steps"] if s["step"] == "credentials")
        assert "set the secret's value, not its id" in told["findings"][0]["text"]
        assert len(entra.requests) == 1

    def test_the_scope_needs_no_word_of_the_server(self, entra, run):
        """An answer of Entra's names no scope, which means the one that was asked for."""
        assert "all granted" in run("doctor", "azure").stdout
