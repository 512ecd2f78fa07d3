"""What is sent as SASL, and where."""

import pytest

from tokenkeeper import InvalidConfigurationError
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._sasl import Exchange, check_private, choose


@pytest.mark.parametrize(
    ("mechanism", "first", "then"),
    [
        ("XOAUTH2", "user=a,b=c@example.com\1auth=Bearer t0k3n\1\1", ""),
        ("oauthbearer", "n,a=a=2Cb=3Dc@example.com,\1auth=Bearer t0k3n\1\1", "\1"),
    ],
)
def test_the_exchange(mechanism, first, then):
    """The token is sent once, and the reason of a rejection gets the answer that ends it."""
    exchange = Exchange(mechanism, "a,b=c@example.com", Hidden("t0k3n"))
    assert exchange() == first
    assert exchange(b'{"status":"401"}') == then
    assert "t0k3n" not in repr(exchange) + repr(vars(exchange))


@pytest.mark.parametrize("user", ["me\1auth=Bearer x", "me\r\nX"])
def test_a_name_that_would_change_the_message(user):
    """A name with control characters is refused."""
    with pytest.raises(ValueError, match="control characters"):
        Exchange("XOAUTH2", user, Hidden("t0k3n"))


def test_the_mechanism():
    """The standard is preferred to its forerunner."""
    assert choose(["PLAIN", "XOAUTH2", "OAUTHBEARER"]) == "OAUTHBEARER"
    assert choose(["PLAIN", "XOAUTH2"]) == "XOAUTH2"
    assert choose(["PLAIN"]) is None


@pytest.mark.parametrize("peer", [("192.0.2.1", 143), ("2001:db8::1", 143, 0, 0), ("host", 25)])
def test_plain_text_over_a_network(peer):
    """A token is not sent over a network without encryption."""
    with pytest.raises(InvalidConfigurationError, match="starttls"):
        check_private(False, peer)
    check_private(True, peer)


@pytest.mark.parametrize("peer", [("127.0.0.1", 143), ("::1", 143, 0, 0), "", None, b"\0x"])
def test_plain_text_on_this_machine(peer):
    """On loopback and Unix sockets no encryption is needed."""
    check_private(False, peer)
