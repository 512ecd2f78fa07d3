"""``tokenkeeper doctor`` on the server's certificate, and on the CAs that verify it."""

import os
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from tokenkeeper.doctor.certificate import read_certificate
from tokenkeeper.doctor.findings import Step


def in_days(days):
    return datetime.now(UTC) + timedelta(days=days)


class TestCertificates:
    """The server's certificate."""

    def test_a_good_one(self, secure, examine, authority):
        """A good certificate is shown with dates, names, issuer, protocol and the CAs in use."""
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
    def test_one_that_expires_soon(self, secure, examine, days, status, left):
        """A certificate that expires within 14 days is a warning; few days are shown in hours."""
        secure(not_after=in_days(days))
        code, seen = examine()
        assert code == 0
        assert seen["tls"].status == status
        assert f" UTC, {left} left" in seen["tls"].text

    def test_an_expired_one(self, secure, examine):
        """An expired certificate fails TLS, with the day of its expiry."""
        secure(not_after=datetime(2024, 5, 6, 7, 8, tzinfo=UTC))
        code, seen = examine()
        assert code == Step.TLS
        assert "expired on 2024-05-06 07:08 UTC" in seen["tls"].text
        assert seen["tls"].facts["not_after"] == "2024-05-06T07:08:00+00:00"
        assert seen.skipped_after(Step.TLS)

    def test_an_expired_intermediate(self, secure, examine, authority, monkeypatch):
        """An expired intermediate is not mistaken for the server's own certificate."""
        with monkeypatch.context() as past:
            past.setattr(trustme, "DEFAULT_EXPIRY", datetime(2024, 5, 6, tzinfo=UTC))
            middle = authority.create_child_ca()
        secure(issued_by=middle, not_after=in_days(100))
        code, seen = examine()
        assert code == Step.TLS
        assert "own certificate is valid now" in seen["tls"].text
        assert "a certificate of its issuers has expired" in seen["tls"].text
        assert "renew the certificates that it sends" in seen["tls"].advice

    def test_one_that_is_not_valid_yet(self, secure, examine):
        """A certificate that is not valid yet fails TLS, with the day it becomes valid."""
        secure(
            not_before=datetime(2150, 1, 2, tzinfo=UTC), not_after=datetime(2151, 1, 1, tzinfo=UTC)
        )
        code, seen = examine()
        assert code == Step.TLS
        assert "becomes valid on 2150-01-02" in seen["tls"].text

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
    def test_one_of_another_host(self, secure, examine, name):
        """A certificate of another host fails TLS, and both hosts are named."""
        secure("other.example", name=name)
        code, seen = examine()
        assert code == Step.TLS
        assert f"the certificate is not valid for {name}" in seen["tls"].text
        assert "for other.example" in seen["tls"].text
        assert "check the host" in seen["tls"].advice

    def test_one_of_an_unknown_ca(self, secure, examine):
        """A certificate of an unknown CA fails TLS, with the issuer and the CA file in use."""
        secure(issued_by=trustme.CA(organization_name="Strangers"))
        code, seen = examine()
        assert code == Step.TLS
        assert "issued by an unknown CA" in seen["tls"].text
        assert "Strangers" in seen["tls"].text
        assert os.environ["REQUESTS_CA_BUNDLE"] in seen["tls"].advice

    @pytest.mark.parametrize("der", [None, b"", b"junk"])
    def test_bytes_without_a_certificate(self, der):
        """Bytes that are not a certificate raise no error."""
        assert read_certificate(der) is None

    def test_control_characters_in_names(self):
        """Control characters in a certificate's names are replaced."""
        wild = trustme.CA(organization_name="Evil\x1b[31m\nCorp")
        certificate = read_certificate(ssl.PEM_cert_to_DER_cert(wild.cert_pem.bytes().decode()))
        assert "Evil?[31m?Corp" in certificate.subject

    def test_one_without_its_intermediate(self, secure, examine, authority):
        """A missing intermediate is named as a possible cause."""
        middle = authority.create_child_ca()
        leaf = middle.issue_cert("127.0.0.1")
        server = secure()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with leaf.private_key_pem.tempfile() as key, leaf.cert_chain_pems[0].tempfile() as cert:
            context.load_cert_chain(cert, key)
        server.tls = context
        code, seen = examine()
        assert code == Step.TLS
        assert "left out an intermediate" in seen["tls"].advice

    def test_a_self_signed_one(self, secure, examine, tmp_path):
        """A self-signed certificate is reported as such."""
        server = secure()
        alone = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = tmp_path / "alone.pem"
        pem.write_bytes(alone.private_key_pem.bytes() + alone.cert_pem.bytes())
        context.load_cert_chain(pem)
        server.tls = context
        code, seen = examine()
        assert code == Step.TLS
        assert "is self-signed and not trusted" in seen["tls"].text

    def test_the_cas_of_a_provider(self, secure, run, configure, environment, tmp_path):
        """The CAs of a provider take precedence over those of the environment, and are named."""
        file = configure(secure().token_url, "verify: ca.pem")
        environment.setenv("REQUESTS_CA_BUNDLE", os.devnull)
        result = run("--config", file, "doctor")
        assert result.exit_code == 0
        assert f"verified by {tmp_path / 'ca.pem'} (verify)" in result.stdout

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    def test_no_verification_is_a_warning(self, secure, run, configure):
        """A provider that verifies no certificate works, with a warning."""
        server = secure("other.example", not_after=in_days(-3))
        result = run("--config", configure(server.token_url, "verify: false"), "doctor")
        assert result.exit_code == 0
        assert "the certificate is not verified" in result.stdout
        assert "expired 3 days ago" in result.stdout

    @pytest.mark.parametrize(
        ("content", "words"), [(None, "does not exist"), (b"no PEM", "contains no CA certificate")]
    )
    def test_an_invalid_bundle(self, secure, examine, environment, tmp_path, content, words):
        """A bundle without a CA fails TLS, and the variable that names it is shown."""
        secure()
        bundle = tmp_path / "bundle.pem"
        if content is not None:
            bundle.write_bytes(content)
        environment.setenv("REQUESTS_CA_BUNDLE", str(bundle))
        code, seen = examine()
        assert code == Step.TLS
        assert words in seen["tls"].text
        assert "correct REQUESTS_CA_BUNDLE" in seen["tls"].advice
