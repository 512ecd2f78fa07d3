"""``tokenkeeper doctor`` on keys, certificates and assertions, before it sends a request."""

import json
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from jwt.algorithms import ECAlgorithm
from kit.servers.faulty import TOKEN
from kit.servers.tls import self_signed

from tokenkeeper.cli.group import cli
from tokenkeeper.config.credentials import CredentialFile
from tokenkeeper.doctor import credentials
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Step
from tokenkeeper.doctor.provider_facts import read_facts
from tokenkeeper.providers.azure import AzureADProvider

NOW = datetime.now(UTC)


def pem(key, password=None):
    """Return a private key in PEM, encrypted if there is a password."""
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.fixture
def write(tmp_path):
    """Write a file that only its owner can read, and return its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def describe_block(environment, server, write):
    """Write a file with one block for a client of the server, without a secret."""

    def describe_block(**settings):
        block = {
            "provider_name": "api",
            "provider_type": "generic",
            "client_id": "worker",
            "token_url": server.token_url,
            **settings,
        }
        block = {key: value for key, value in block.items() if value is not None}
        environment.setenv(
            "TOKENKEEPER_CONFIG", str(write("tokens.yaml", json.dumps({"oauth2": block})))
        )

    return describe_block


class TestOfAConfiguration:
    """The step in a whole examination."""

    def test_a_secret_needs_no_file(self, describe, examine):
        """A client with a secret has no such files, and the step says so."""
        describe()
        code, seen = examine()
        assert code == 0
        assert seen["credential_files"].status == "ok"
        assert seen["credential_files"].text == "client_secret_basic needs no file"

    def test_a_key(self, describe_block, examine, write):
        """A key's algorithm and the claims of an assertion are shown, without the assertion."""
        write("key.pem", pem(ec.generate_private_key(ec.SECP256R1())))
        describe_block(private_key_file="key.pem")
        code, seen = examine()
        step = seen["credential_files"]
        assert (code, step.status) == (0, "ok")
        assert "private_key_file read: signs with ES256" in step.text
        assert "client assertion: iss worker, sub worker, aud http://127.0.0.1:" in step.text
        assert step.facts["private_key_file"] == {"alg": "ES256"}
        assert "eyJ" not in step.text + json.dumps(step.facts)

    def test_an_issuer_is_the_audience(self, describe_block, examine, write, server):
        """With an issuer, the assertion is for it, and its metadata has to name it verbatim."""
        write("key.pem", pem(ec.generate_private_key(ec.SECP256R1())))
        server.publish(issuer=server.origin)
        describe_block(private_key_file="key.pem", issuer=server.origin, token_url=None)
        code, seen = examine()
        assert code == 0
        assert f"aud {server.origin}" in seen["credential_files"].text
        assert f"token endpoint {server.token_url}" in seen["metadata"].text
        assert seen["metadata"].status == "ok"

    def test_an_issuer_without_metadata(self, describe_block, examine, server):
        """Without the metadata of the issuer there is no endpoint, so the step fails."""
        describe_block(token_endpoint_auth_method="none", issuer=server.origin, token_url=None)
        code, seen = examine()
        assert code == Step.METADATA
        assert seen["credential_files"].text == "none needs no file"

    def test_a_certificate_beside_a_jwk(self, describe_block, examine, write):
        """The certificate of a key that signs may be beside a JWK."""
        key = ec.generate_private_key(ec.SECP256R1())
        write("key.jwk", json.dumps(ECAlgorithm(ECAlgorithm.SHA256).to_jwk(key, as_dict=True)))
        write("c.pem", self_signed(key))
        describe_block(private_key_file="key.jwk", certificate_file="c.pem")
        code, seen = examine()
        assert code == 0
        assert seen["credential_files"].status == "warning"  # it expires soon

    def test_a_certificate_for_tls(self, describe_block, examine, write):
        """The certificate that a client presents in TLS is examined with its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        write("c.pem", self_signed(key))
        write("k.pem", pem(key))
        describe_block(
            token_endpoint_auth_method="self_signed_tls_client_auth",
            certificate_file="c.pem",
            certificate_key_file="k.pem",
        )
        _, seen = examine()
        step = seen["credential_files"]
        assert step.status == "warning"
        assert "certificate_file: client.test, valid from" in step.text
        assert step.facts["certificate_file"]["subject"] == "client.test"
        assert "renew the certificate" in step.advice

    @pytest.mark.parametrize(
        ("days", "code", "text"),
        [
            (10.5, 0, "expires in 10 days"),
            (-10.5, 10, "expired 10 days ago"),
            (None, 0, "does not"),
        ],
    )
    def test_an_assertion_in_a_file(self, describe_block, examine, write, days, code, text):
        """Its claims and its expiry are shown; one that has expired fails, and stops there."""
        claims = {} if days is None else {"exp": time.time() + days * 86400}
        parties = {"iss": "https://kubernetes", "sub": "pod", "aud": ["a", "b"]}
        write("assertion", jwt.encode(parties | claims, "k" * 32, "HS256"))
        describe_block(client_assertion_file="assertion")
        found, seen = examine()
        step = seen["credential_files"]
        assert found == code
        assert "client_assertion_file: iss https://kubernetes, sub pod, aud a, b" in step.text
        assert text in step.text
        assert step.facts["client_assertion_file"]["sub"] == "pod"
        if code:
            assert "what replaces this file" in step.advice
            assert seen.skipped_after(Step.CREDENTIAL_FILES)

    def test_a_token_that_is_not_there(self, describe_block, examine):
        """A file that something else has not written yet fails the step."""
        describe_block(client_assertion_file="assertion")
        code, seen = examine()
        assert code == Step.CREDENTIAL_FILES == 10
        assert "No such file" in seen["credential_files"].text

    def test_a_token_of_another_form(self, describe_block, examine, write):
        """A token that is not a JWT is read, and nothing of it is shown."""
        write("subject", TOKEN)
        describe_block(
            token_endpoint_auth_method="none",
            grant="token_exchange",
            subject_token={"file": "subject"},
        )
        code, seen = examine()
        assert code == 0
        assert seen["credential_files"].text == "subject_token.file read; it is not a JWT"

    def test_a_refresh_token_that_was_replaced(self, describe_block, examine, write):
        """The refresh token that a grant began with may have expired: custody has another one."""
        write("first", jwt.encode({"exp": int(time.time()) - 90 * 86400}, "k" * 32))
        describe_block(
            token_endpoint_auth_method="none",
            grant="refresh_token",
            refresh_token_file="first",
        )
        code, seen = examine()
        assert (code, seen["credential_files"].status) == (0, "note")
        assert "expired 90 days ago" in seen["credential_files"].text

    @pytest.fixture
    def describe_pair(self, environment, server, write):
        """Write a file with a provider whose requests need the token of another one."""
        common = {
            "provider_type": "generic",
            "client_id": "worker",
            "token_url": server.token_url,
            "token_endpoint_auth_method": "none",
        }
        exchange = {"grant": "token_exchange", "subject_token": {"provider": "login"}}
        blocks = [{"provider_name": "api", **common, **exchange}]
        blocks.append({"provider_name": "login", **common})
        path = write("tokens.yaml", json.dumps({"oauth2": blocks}))
        environment.setenv("TOKENKEEPER_CONFIG", str(path))
        environment.delenv("XDG_RUNTIME_DIR", raising=False)

    def test_the_token_of_another_provider(self, describe_pair, examine, server):
        """The token of another provider is requested from a keeper that has both."""
        code, _ = examine("api")
        assert code == 0
        assert server.seen.count(("POST", "/oauth/token")) == 2

    def test_it_is_taken_from_the_store(self, describe_pair, environment, server, tmp_path):
        """A token of another provider that the store has is not requested again."""
        (tmp_path / "kept").mkdir(mode=0o700)
        environment.setenv("TOKENKEEPER_STORE", f"sqlite:///{tmp_path}/kept/store.db")
        assert CliRunner().invoke(cli, ["get", "login"]).exit_code == 0
        assert CliRunner().invoke(cli, ["doctor", "api"]).exit_code == 0
        assert server.seen.count(("POST", "/oauth/token")) == 2

    def test_commands_request_it_too(self, describe_pair, server):
        """`get` and `status --fetch` with one name request the token of the other one as well."""
        for number, arguments in enumerate((["get", "api"], ["status", "api", "--fetch"]), 1):
            result = CliRunner().invoke(cli, arguments)
            assert result.exit_code == 0, result.output
            assert server.seen.count(("POST", "/oauth/token")) == 2 * number


def findings_of(*files):
    """Return what the step finds in *files*, as (level, text)."""
    provider = AzureADProvider("api", "id", "secret", "contoso.example")
    facts = read_facts(provider, (), files)
    return [
        (each.level.value, each.text)
        for each in credentials.check_files(Examination(facts)).findings
    ]


class TestCertificates:
    """A certificate's expiry, and whether its key fits."""

    @pytest.mark.parametrize(
        ("days", "level", "text"),
        [
            (30, "ok", "29 days left"),
            (5, "warning", "4 days left"),
            (-1, "failed", "expired 24 hours ago"),
        ],
    )
    def test_expiry(self, write, days, level, text):
        """An expired certificate fails, and one that expires soon is a warning."""
        validity = {
            "not_before": NOW - timedelta(days=9),
            "not_after": NOW + timedelta(days=days) - timedelta(minutes=days and 1),
        }
        issued = trustme.CA().issue_cert("client.test", **validity)
        file = write("c.pem", issued.private_key_and_cert_chain_pem.bytes())
        ((found, words),) = findings_of(CredentialFile(("certificate_file",), file, "certificate"))
        assert found == level
        assert text in words
        assert words.startswith("certificate_file: trustme")

    def test_one_that_is_not_valid_yet(self, write):
        """A certificate of the future points at the clock."""
        validity = {"not_before": NOW + timedelta(days=3), "not_after": NOW + timedelta(days=9)}
        issued = trustme.CA().issue_cert("client.test", **validity)
        file = write("c.pem", issued.private_key_and_cert_chain_pem.bytes())
        ((found, words),) = findings_of(CredentialFile(("certificate_file",), file, "certificate"))
        assert found == "failed"
        assert "It is not valid yet" in words

    def test_a_key_that_does_not_fit(self, write):
        """The key of another certificate is named with its file."""
        mine, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        certificate = CredentialFile(
            ("certificate_file",), write("c.pem", self_signed(mine)), "certificate"
        )
        key = CredentialFile(("certificate_key_file",), write("k.pem", pem(other)), "key")
        assert findings_of(certificate, key)[0] == (
            "failed",
            "the private key in certificate_key_file does not fit the certificate",
        )
        fitting = CredentialFile(("certificate_key_file",), write("k.pem", pem(mine)), "key")
        assert [level for level, _ in findings_of(certificate, fitting)] == ["warning"]

    def test_no_key(self, write):
        """A certificate without a key says where to put it."""
        mine = ec.generate_private_key(ec.SECP256R1())
        file = write("c.pem", self_signed(mine))
        found = findings_of(CredentialFile(("certificate_file",), file, "certificate"))
        assert ("failed", "certificate_file contains no private key") in found

    @pytest.mark.parametrize("password", [None, "open"])
    def test_a_bundle(self, write, password):
        """PKCS #12 is read with its password."""
        key = rsa.generate_private_key(65537, 2048)
        encryption = BestAvailableEncryption(b"open") if password else NoEncryption()
        content = pkcs12.serialize_key_and_certificates(
            None, key, load_pem_x509_certificate(self_signed(key)), None, encryption
        )
        file = write("c.pfx", content)
        opened = CredentialFile(("certificate_file",), file, "certificate", password)
        assert [level for level, _ in findings_of(opened)] == ["warning"]
        if password:
            closed = CredentialFile(("certificate_file",), file, "certificate", "wrong")
            assert findings_of(closed) == [
                ("failed", "certificate_file contains no certificate that its password opens")
            ]

    @pytest.mark.parametrize(
        ("content", "password", "text"),
        [
            (b"-----BEGIN NOTHING", None, "contains no certificate in PEM"),
            (b"nothing", None, "contains no certificate that its password opens"),
            (None, None, "can't be read: No such file or directory"),
            ("encrypted", None, "is encrypted, and no password is set"),
            ("encrypted", "wrong", "contains no private key in PEM that its password opens"),
            ("plain", "open", "needs no password"),
        ],
    )
    def test_files_that_can_not_be_used(self, write, tmp_path, content, password, text):
        """Each reason is given in words, without anything of the file."""
        key = ec.generate_private_key(ec.SECP256R1())
        if content in ("encrypted", "plain"):
            content = self_signed(key) + pem(key, "open" if content == "encrypted" else None)
        file = tmp_path / "none" if content is None else write("c.pem", content)
        found = findings_of(CredentialFile(("certificate_file",), file, "certificate", password))
        assert found == [("failed", f"certificate_file {text}")]

    def test_a_key_that_can_not_be_used(self, write):
        """A file without a key is the finding, and nothing of it is shown."""
        file = write("k.pem", TOKEN)
        ((level, text),) = findings_of(CredentialFile(("private_key_file",), file, "key"))
        assert level == "failed"
        assert "private_key_file" in text
        assert TOKEN not in text
