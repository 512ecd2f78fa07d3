"""``tokenkeeper doctor`` on certificates of all kinds, and on the CAs that count."""

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

    def test_the_cas_of_a_provider(self, secure, run, configure, environment, tmp_path):
        """A provider's own CAs count before the environment's, and are told."""
        file = configure(secure().token_url, "verify: ca.pem")
        environment.setenv("REQUESTS_CA_BUNDLE", os.devnull)
        result = run("--config", file, "doctor")
        assert result.exit_code == 0
        assert f"verified by {tmp_path / 'ca.pem'} (verify)" in result.stdout

    @pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
    def test_no_verification_draws_a_warning(self, secure, run, configure):
        """A provider that verifies nothing works, and is warned."""
        server = secure("other.example", not_after=in_days(-3))
        result = run("--config", configure(server.token_url, "verify: false"), "doctor")
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
