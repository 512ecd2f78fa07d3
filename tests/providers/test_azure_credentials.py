"""The credentials of an application in Entra ID: secrets, certificates, federated tokens."""

import base64
import pickle
from itertools import permutations

import jwt
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from kit.servers.entra import CLIENT_ID, SECRET, TENANT, refusal
from kit.servers.entra_assertions import Certificates, base64url

from tokenkeeper import AzureADProvider, InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.providers.azure_certificate import CertificateCredential

PASSWORD = "pass~word"


@pytest.fixture(scope="module")
def certificates():
    """Return an authority that issues certificates with RSA keys."""
    return Certificates()


@pytest.fixture
def pem(tmp_path, certificates, entra):
    """Return the path of a certificate that Entra ID trusts, with its key."""
    path = tmp_path / "app.pem"
    entra.trusted.certificates.append(certificates.issue(path))
    return path


@pytest.fixture
def make(entra):
    """Return a function that makes providers without a secret, for the stand-in."""

    def make(**credential):
        return AzureADProvider(
            "graph",
            CLIENT_ID,
            tenant_id=TENANT,
            authority=entra.authority,
            verify=entra.ca_file,
            **credential,
        )

    return make


def invalid(make, **options):
    """Return the error for *options* that can't work."""
    with pytest.raises(InvalidConfigurationError) as caught:
        make(**options)
    error = caught.value
    assert error.provider_name == "graph"
    assert "\n" not in str(error)
    assert SECRET not in str(error)
    assert PASSWORD not in str(error)
    return error


def unknown_kind(der):
    """Return *der*, of an RSA key, with the identifier of a kind of keys that does not exist."""
    rsa, unknown = (bytes.fromhex(f"2a864886f70d0101{end}") for end in ("01", "7f"))
    assert rsa in der
    return der.replace(rsa, unknown, 1)


def in_pem(label, der):
    """Return *der* as a PEM block."""
    marks = (f"-----{mark} {label}-----\n".encode() for mark in ("BEGIN", "END"))
    return base64.encodebytes(der).join(marks)


class TestCertificates:
    """A certificate with its key, in a file."""

    def test_a_token(self, make, entra, pem):
        """Each request has an assertion of its own, which names the certificate, and no secret."""
        provider = make(certificate_file=pem)
        tokens = [provider.acquire_token().access_token for _ in range(2)]
        assert tokens == ["entra-1", "entra-2"]
        assert len(set(entra.trusted.seen)) == 2
        [trusted] = entra.trusted.certificates
        thumbprint = base64url(trusted.fingerprint(hashes.SHA256()))
        assert entra.trusted.headers == 2 * [{"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}]
        assert "client_secret" not in entra.requests[0].form

    def test_a_subject_name_and_an_issuer(self, make, entra, certificates, tmp_path):
        """With ``send_x5c`` the certificate and its issuers are sent, the certificate first."""
        entra.trusted.issuers.append(
            x509.load_pem_x509_certificate(certificates.ca.cert_pem.bytes())
        )
        path = tmp_path / "renewed.pem"
        own = certificates.issue(path)
        with pytest.raises(TokenAcquisitionError, match="AADSTS700027"):
            make(certificate_file=path).acquire_token()
        make(certificate_file=path, send_x5c=True).acquire_token()
        [headers] = entra.trusted.headers
        sent = [x509.load_der_x509_certificate(base64.b64decode(each)) for each in headers["x5c"]]
        assert sent[0] == own
        assert sent[-1].subject == own.issuer

    def test_a_replaced_file(self, make, entra, certificates, pem):
        """A replaced certificate is used at the next request, without a restart."""
        provider = make(certificate_file=pem)
        provider.acquire_token()
        entra.trusted.certificates[:] = [certificates.issue(pem)]
        assert provider.acquire_token().access_token == "entra-2"

    def test_a_file_that_is_being_replaced(self, make, pem):
        """A file that is missing or half written for a moment is a transient failure."""
        provider = make(certificate_file=pem)
        whole = pem.read_bytes()
        for content in (whole[:200], b""):
            pem.write_bytes(content)
            with pytest.raises(TokenAcquisitionError, match="must contain a certif") as caught:
                provider.acquire_token()
            assert caught.value.transient
            assert str(caught.value).startswith("provider 'graph': certificate_file: ")
        pem.unlink()
        with pytest.raises(TokenAcquisitionError, match="can't be read: No such file") as caught:
            provider.acquire_token()
        assert caught.value.transient
        pem.write_bytes(whole)
        assert provider.acquire_token().access_token == "entra-1"

    @pytest.mark.parametrize("kind", ["pem", "pkcs12"])
    def test_an_encrypted_key(self, make, entra, certificates, tmp_path, kind):
        """The password of the file decrypts it, in PEM and in PKCS #12."""
        path = tmp_path / f"encrypted.{kind}"
        certificate = certificates.issue(path, password=PASSWORD if kind == "pem" else None)
        if kind == "pkcs12":
            key = load_pem_private_key(path.read_bytes(), None)
            encryption = BestAvailableEncryption(PASSWORD.encode())
            bundle = pkcs12.serialize_key_and_certificates(
                b"app", key, certificate, None, encryption
            )
            path.write_bytes(bundle)
        entra.trusted.certificates.append(certificate)
        provider = make(certificate_file=str(path), certificate_password=PASSWORD)
        assert provider.acquire_token().access_token == "entra-1"
        for wrong in ({}, {"certificate_password": "wrong"}):
            assert invalid(make, certificate_file=path, **wrong).field == "certificate_password"

    def test_unknown_kinds_of_keys(self, make, entra, certificates, tmp_path):
        """An issuer's key may be of any kind, the application's own is RSA."""
        path = tmp_path / "app.pem"
        own = certificates.issue(path)
        entra.trusted.certificates.append(own)
        key = load_pem_private_key(path.read_bytes(), None).private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        )
        certificate = own.public_bytes(Encoding.DER)
        issuer = in_pem("CERTIFICATE", unknown_kind(certificate))
        own_pem = in_pem("CERTIFICATE", certificate)
        path.write_bytes(in_pem("PRIVATE KEY", key) + issuer + own_pem)
        assert make(certificate_file=path).acquire_token().access_token == "entra-1"
        path.write_bytes(in_pem("PRIVATE KEY", unknown_kind(key)) + own_pem)
        assert "must contain an RSA key" in str(invalid(make, certificate_file=path))

    def test_unusable_files(self, make, tmp_path, pem):
        """A file that can't be a credential is an error where the provider is made."""
        key, _, certificate = pem.read_text().partition("-----BEGIN CERTIFICATE-----")
        elliptic = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("app.example")
        cases = {
            "can't be read: No such file": None,
            "must contain a certificate and its private key": b"nothing of the kind",
            "is larger than 1 MiB": b"-" * (1024 * 1024 + 1),
            "contains no certificate for its private key": (
                key.encode() + trustme.CA().cert_pem.bytes()
            ),
            "must contain an RSA key": elliptic.private_key_and_cert_chain_pem.bytes(),
        }
        path = tmp_path / "unusable.pem"
        for message, content in cases.items():
            if content is not None:
                path.write_bytes(content)
            error = invalid(make, certificate_file=path)
            assert error.field == "certificate_file"
            assert message in str(error)
        path.write_text(certificate)
        assert invalid(make, certificate_file=path).field == "certificate_file"
        error = invalid(make, certificate_file=pem, certificate_password="not needed")
        assert error.field == "certificate_password"

    def test_ad_fs(self, pem, clock):
        """AD FS gets the algorithm and the thumbprint that it understands."""
        credential = CertificateCredential(CLIENT_ID, pem, None, False, clock)
        made = credential.for_msal(lambda: "https://adfs.example/adfs/oauth2/token", is_adfs=True)
        headers = jwt.get_unverified_header(made["client_assertion"]())
        assert headers["alg"] == "RS256"
        assert set(headers) == {"alg", "typ", "x5t"}

    def test_another_process(self, pem):
        """A credential can be sent to another process, which reads the file itself."""
        credential = CertificateCredential(CLIENT_ID, pem, None, True, SYSTEM_CLOCK)
        twin = pickle.loads(pickle.dumps(credential))
        assert twin.describe() == credential.describe() == {"certificate_file": str(pem)}


class TestFederatedTokens:
    """The token of another identity provider in place of a secret."""

    def test_a_file(self, make, entra, tmp_path):
        """The file is read for each request: Kubernetes replaces it long before it expires."""
        path = tmp_path / "azure-identity-token"
        provider = make(federated_token_file=str(path))
        for number, token in enumerate(("kubernetes-1", "kubernetes-2"), 1):
            entra.trusted.federated = {token}
            path.write_text(f"{token}\n")
            assert provider.acquire_token().access_token == f"entra-{number}"
            assert entra.requests[-1].form["client_assertion"] == token
        kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert entra.requests[-1].form["client_assertion_type"] == kind

    def test_a_callable(self, make, entra):
        """A callable, such as a source of another provider, is asked for each request."""
        tokens = iter(["github-1", "github-2"])
        entra.trusted.federated = {"github-1", "github-2"}
        provider = make(client_assertion=lambda: next(tokens))
        assert provider.acquire_token().access_token == "entra-1"
        assert provider.acquire_token().access_token == "entra-2"

    def test_a_missing_file(self, make, entra, tmp_path):
        """Without the file nothing is sent, and the error is transient: it may appear."""
        provider = make(federated_token_file=tmp_path / "missing")
        with pytest.raises(TokenAcquisitionError, match="missing can't be read") as caught:
            provider.acquire_token()
        assert caught.value.transient
        assert caught.value.provider_name == "graph"
        assert str(caught.value).startswith("provider 'graph': federated_token_file: ")
        assert entra.requests == []

    def test_a_refused_token(self, make, entra):
        """A refused token does not show in the error, even if the server repeats it."""
        token = "eyJhbGciOiJSUzI1NiJ9.federated"
        entra.script.append(refusal(401, "invalid_client", 700213, f"No match for {token}."))
        with pytest.raises(TokenAcquisitionError) as caught:
            make(client_assertion=lambda: token).acquire_token()
        assert "AADSTS700213" in str(caught.value)
        assert token not in str(caught.value) + repr(vars(caught.value))


CREDENTIALS = {
    "client_secret": SECRET,
    "certificate_file": "app.pem",
    "federated_token_file": "token",
    "client_assertion": lambda: "token",
}


class TestOptions:
    """Exactly one credential, and what belongs to it."""

    @pytest.mark.parametrize(("first", "second"), [*permutations(CREDENTIALS, 2)])
    def test_two_credentials(self, make, first, second):
        """Two credentials are an error that names both."""
        error = invalid(make, **{name: CREDENTIALS[name] for name in (first, second)})
        assert error.field in (first, second)
        assert first in str(error)
        assert second in str(error)

    def test_no_credential(self, make):
        """Without a credential, the error names them all."""
        error = invalid(make)
        assert error.field == "client_secret"
        assert all(name in str(error) for name in CREDENTIALS)

    def test_no_tenant(self):
        """The tenant has no default."""
        with pytest.raises(InvalidConfigurationError, match="tenant_id is missing") as caught:
            AzureADProvider("graph", CLIENT_ID, SECRET)
        assert caught.value.field == "tenant_id"

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            ({"client_secret": SECRET, "certificate_password": "x"}, "certificate_password"),
            ({"client_secret": SECRET, "send_x5c": True}, "send_x5c"),
            ({"client_secret": SECRET, "send_x5c": "yes"}, "send_x5c"),
            ({"client_secret": SECRET, "region": "West Europe"}, "region"),
            ({"client_secret": SECRET, "region": "evil.example/"}, "region"),
            ({"client_secret": SECRET, "client_capabilities": [1]}, "client_capabilities"),
            ({"certificate_file": 1}, "certificate_file"),
            ({"certificate_file": "app.pem", "certificate_password": ""}, "certificate_password"),
            ({"federated_token_file": ""}, "federated_token_file"),
            ({"client_assertion": "eyJ"}, "client_assertion"),
        ],
    )
    def test_what_can_not_work(self, make, options, field):
        """An option that can't work is an error where the provider is made."""
        assert invalid(make, **options).field == field

    def test_descriptions(self, make, pem, tmp_path):
        """A description names the method and the file; the identity outlives the credential."""
        certificate = make(certificate_file=pem)
        federated = make(federated_token_file=tmp_path / "token")
        secret = make(client_secret=SECRET)
        callable_ = make(client_assertion=lambda: "token")
        described = certificate.describe()
        assert described["token_endpoint_auth_method"] == "private_key_jwt"
        assert described["certificate_file"] == str(pem)
        assert federated.describe()["federated_token_file"] == str(tmp_path / "token")
        assert callable_.describe()["token_endpoint_auth_method"] == "client_assertion"
        identities = [each.identity() for each in (certificate, federated, secret, callable_)]
        assert all(each == identities[0] for each in identities)
