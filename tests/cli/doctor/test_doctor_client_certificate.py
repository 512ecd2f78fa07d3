"""The doctor on a client with a certificate: its files, its dates, and the server's rejection."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from kit.servers.mutual_tls import MutualTlsServer
from kit.servers.tls import ClientFiles

from tokenkeeper import GenericOAuth2Provider, OAuth2Config
from tokenkeeper.doctor.examine import examine
from tokenkeeper.doctor.findings import Level, Report, Step, ok
from tokenkeeper.doctor.network import check_proxy
from tokenkeeper.doctor.provider_facts import read_facts
from tokenkeeper.doctor.targets import Target
from tokenkeeper.doctor.tls import check_tls
from tokenkeeper.oauth.client_certificate import TlsClientAuth


@pytest.fixture
def files(authority, tmp_path):
    """Return the files of the client."""
    return ClientFiles(authority, tmp_path)


@pytest.fixture
def examined(files):
    """Return a function that examines the client at a server: the reports by their steps."""

    def examined(server, before=lambda: None):
        config = OAuth2Config("api", "me", None, server.token_url)
        provider = GenericOAuth2Provider(config, client_auth=TlsClientAuth(*files.paths))
        before()
        target = Target("api", read_facts(provider), Report(Step.VARIABLES, (ok("read"),)))
        return {each.step: each for each in examine(target, timeout=20)}

    return examined


WITHOUT_CONNECTIONS = {Step.PROXY: check_proxy, Step.TLS: check_tls}


def in_days(days):
    return datetime.now(UTC) + timedelta(days=days)


def own(report):
    """Return the finding about the client's certificate."""
    return next(each for each in report.findings if "client certificate" in each.text)


@pytest.mark.parametrize(
    ("days", "level"), [(13.9, Level.WARNING), (14.1, Level.OK)], ids=["soon", "later"]
)
def test_the_days_that_are_left(authority, files, examined, days, level):
    """The certificate is presented, and a warning says if it expires within 14 days."""
    files.replace(not_after=in_days(days))
    with MutualTlsServer(authority) as server:
        reports = examined(server)
    finding = own(reports[Step.TLS])
    assert finding.level is level
    assert finding.text.startswith(f"client certificate {files.paths[0]}: ")
    assert f"{int(days)} days left" in finding.text
    assert (finding.advice is None) is (level is Level.OK)
    assert reports[Step.CREDENTIALS].level is Level.OK
    assert "did not respond" not in reports[Step.CLOCK].findings[0].text
    assert reports[Step.TLS].facts["client_certificate_expires"].startswith("20")


def break_the_pair(files):
    files.key.write_bytes(files.issue()[1])


def remove_the_key(files):
    files.key.unlink()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (break_the_pair, "does not belong to the first certificate"),
        (remove_the_key, "No such file"),
    ],
)
def test_files_that_can_not_be_used(authority, files, examined, monkeypatch, damage, text):
    """Files that can't be used fail the step, with the reason."""
    monkeypatch.setattr("tokenkeeper.oauth.certificate_files.PAUSES_SECONDS", ())
    with MutualTlsServer(authority) as server:
        reports = examined(server, lambda: damage(files))
    assert reports[Step.TLS].failed
    assert text in own(reports[Step.TLS]).text
    assert reports[Step.CREDENTIALS].level is Level.SKIPPED


def test_a_certificate_without_a_usual_form(authority, files, examined, monkeypatch):
    """A certificate that can't be shown is reported by its file."""
    monkeypatch.setattr("tokenkeeper.doctor.client_certificate.read_certificate", lambda _: None)
    with MutualTlsServer(authority) as server:
        finding = own(examined(server)[Step.TLS])
    assert finding.text == f"client certificate {files.paths[0]}"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_rejects_it(authority, files, examined, version):
    """A rejection names the file: in the handshake of TLS 1.2, in the token request of 1.3."""
    with MutualTlsServer(authority, trusts=trustme.CA(), version=version) as server:
        reports = examined(server)
    failed = next(each for each in reports.values() if each.failed)
    text = f"does not trust the issuer of the client certificate in {files.paths[0]}"
    assert text in failed.findings[0].text
    assert failed.step is (Step.TLS if version is ssl.TLSVersion.TLSv1_2 else Step.CREDENTIALS)


def test_a_proxy_that_is_not_tried(authority, files, examined, monkeypatch):
    """The certificate is reported even if the step makes no handshake."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:1")
    with MutualTlsServer(authority) as server:
        monkeypatch.setattr("tokenkeeper.doctor.examine._CHECKS", WITHOUT_CONNECTIONS)
        report = examined(server)[Step.TLS]
    assert "not tried through socks5h" in report.findings[0].text
    assert own(report).level is Level.OK
