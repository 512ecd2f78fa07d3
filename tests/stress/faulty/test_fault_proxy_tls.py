"""TLS that fails in the handshake."""

import pytest
import trustme
from kit.servers import fault_proxy as faults
from kit.servers.tls import context_of

from tokenkeeper import TokenAcquisitionError

MAY_PASS = {
    "close at once": (faults.CLOSE_AT_ONCE, "request to"),
    "reset in the handshake": (faults.RESET_AFTER_HELLO, "the connection was interrupted"),
    "close in the handshake": (faults.CLOSE_AFTER_HELLO, "TLS failed"),
    "garbage": (faults.GARBAGE, "TLS failed"),
    "stall": (faults.STALL_AT_ONCE, "timed out"),
}


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def proxy(make_proxy, authority):
    """Return a proxy that speaks TLS to its clients."""
    return make_proxy(context_of(authority, "127.0.0.1"))


@pytest.fixture
def client(make_client, authority, tmp_path):
    """Return a client that trusts the proxy's authority."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return make_client(verify=str(path), connect_timeout=1.0)


@pytest.mark.parametrize(("fault", "words"), MAY_PASS.values(), ids=MAY_PASS)
def test_one_broken_handshake(client, proxy, fault, words):
    """A single failed handshake costs one retry, and the token is valid."""
    proxy.plan(fault)
    client.get()
    assert proxy.attempts == 2
    assert client.granted == 1


@pytest.mark.parametrize(("fault", "words"), MAY_PASS.values(), ids=MAY_PASS)
def test_handshakes_that_go_on_breaking(client, proxy, faulty, fault, words):
    """Failed handshakes end in a clear error after all attempts, and no secret is sent in clear."""
    proxy.always(fault)
    with pytest.raises(TokenAcquisitionError) as caught:
        client.get()
    assert words in str(caught.value)
    faulty.assert_clear(caught.value, client)
    assert caught.value.transient
    assert proxy.attempts == caught.value.attempts == faulty.POLICY.attempts
    assert client.granted == 0
    proxy.clear()
    client.get(force_refresh=True)


def test_a_certificate_by_an_unknown_authority(client, proxy, faulty):
    """An untrusted certificate is a final error: one attempt, no request."""
    proxy.plan(faults.certificate(context_of(trustme.CA(), "127.0.0.1")))
    with pytest.raises(TokenAcquisitionError) as caught:
        client.get()
    assert "certificate was not accepted" in str(caught.value)
    faulty.assert_clear(caught.value, client)
    assert not caught.value.transient
    assert proxy.attempts == caught.value.attempts == 1
    assert client.granted == 0
    client.get(force_refresh=True)


@pytest.mark.parametrize(
    "fault", [faults.RESET_IN_BODY, faults.TRUNCATE_BODY, faults.CLOSE_BEFORE], ids=repr
)
def test_faults_inside_tls(client, proxy, fault):
    """An answer that is cut off within TLS costs one retry too."""
    proxy.plan(fault)
    client.get()
    assert proxy.attempts == 2
