"""TLS to Entra's host: private CAs in both ways, and certificates that are not accepted."""

from datetime import UTC, datetime

import pytest

from tokenkeeper import TokenAcquisitionError, TokenKeeper, TokenRefreshError

CERTIFICATES = {
    "wrong host": ({"certified": "other.example"}, "ostname mismatch", "Check the host in the URL"),
    "expired": (
        {"not_after": datetime(2020, 1, 1, tzinfo=UTC)},
        "certificate has expired",
        "Check the server's certificate, and this machine's clock",
    ),
}


def assert_final(server, keeper, said, advice):
    """Fail unless the certificate is a final error, after one connection and before a secret."""
    for _ in range(5):
        with pytest.raises(TokenAcquisitionError) as raised:
            keeper.get_token("graph")
        error = raised.value
        message = str(error)
        assert message.startswith("provider 'graph': request to localhost:")
        assert "TLS: the certificate was not accepted" in message
        assert said in message
        assert advice in message
        assert (error.transient, error.attempts, error.status_code) == (False, 1, None)
    assert (server.connections, server.discoveries, server.requests) == (1, 0, [])


def test_a_wrong_ca(entra, make_entra, make_keeper, make_provider):
    """An untrusted CA is a final error that says how to trust it."""
    other = make_entra(listens=False)
    keeper = make_keeper(make_provider(verify=other.ca_file), cooldown_seconds=600)
    assert_final(entra, keeper, "unable to get local issuer", "Set verify or REQUESTS_CA_BUNDLE")


def test_no_ca(entra, make_keeper, make_provider):
    """Without ``verify`` the machine's CAs count, and none of them signed the certificate."""
    keeper = make_keeper(make_provider(verify=None), cooldown_seconds=600)
    assert_final(entra, keeper, "unable to get local issuer", "Set verify or REQUESTS_CA_BUNDLE")


@pytest.mark.parametrize(("certificate", "said", "advice"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_wrong_certificate(make_entra, make_provider, certificate, said, advice):
    """A certificate for another host, or an expired one, is a final error."""
    server = make_entra(**certificate)
    with TokenKeeper(cooldown_seconds=600) as keeper:
        keeper.add_provider(make_provider(authority=server.authority, verify=server.ca_file))
        assert_final(server, keeper, said, advice)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_ca_by_the_environment(entra, make_keeper, make_provider, monkeypatch, variable):
    """Without ``verify`` the environment variables of requests count."""
    monkeypatch.setenv(variable, entra.ca_file)
    make_keeper(make_provider(verify=None)).get_token("graph")
    assert (entra.discoveries, len(entra.requests), entra.calls) == (1, 1, 1)


def test_a_ca_by_argument(entra, make_entra, make_keeper, make_provider, monkeypatch):
    """With ``verify`` the environment variables don't count."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", make_entra(listens=False).ca_file)
    make_keeper(make_provider()).get_token("graph")
    assert len(entra.requests) == 1


def test_a_wrong_ca_by_the_environment(entra, make_entra, make_keeper, make_provider, monkeypatch):
    """A bundle without the server's CA is a final error."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", make_entra(listens=False).ca_file)
    keeper = make_keeper(make_provider(verify=None), cooldown_seconds=600)
    assert_final(entra, keeper, "unable to get local issuer", "Set verify or REQUESTS_CA_BUNDLE")


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_that_is_not_a_ca(entra, make_keeper, make_provider, tmp_path, content):
    """A missing file, or one without a certificate, is an error before any request."""
    file = tmp_path / "mine.pem"
    if content is not None:
        file.write_text(content)
    keeper = make_keeper(make_provider(verify=file), cooldown_seconds=600)
    with pytest.raises(TokenAcquisitionError, match="CA certificate file") as raised:
        keeper.get_token("graph")
    assert (raised.value.transient, raised.value.attempts) == (False, 1)
    assert entra.discoveries == 0


def test_a_ca_file_that_is_lost(entra, make_keeper, make_provider, tmp_path):
    """If the CA file is deleted later, the current token is still served."""
    file = tmp_path / "mine.pem"
    with open(entra.ca_file) as ca:
        file.write_text(ca.read())
    keeper = make_keeper(make_provider(verify=file))
    token = keeper.get_token("graph")
    file.unlink()
    with pytest.raises(TokenRefreshError, match="CA certificate file"):
        keeper.get_token("graph", force_refresh=True)
    assert keeper.get_token("graph") == token
