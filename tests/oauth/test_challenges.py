"""The first challenge of a WWW-Authenticate header."""

import pytest

from tokenkeeper.oauth.challenges import LONGEST_HEADER, Challenge, read_challenge


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ("Basic", Challenge("Basic", "", "", "")),
        ("  Basic  ", Challenge("Basic", "", "", "")),
        ("Negotiate, Basic", Challenge("Negotiate", "", "", "")),
        (",X", Challenge(",X", "", "", "")),
        ("X-MAX,, Basic", Challenge("X-MAX", "", "", "")),
        ('Basic realm="a b"', Challenge("Basic", "a b", "", "")),
        ("Bearer error=invalid_token", Challenge("Bearer", "", "invalid_token", "")),
        ('Bearer error_description="no \\"x\\""', Challenge("Bearer", "", "", 'no "x"')),
        (
            'Bearer REALM="api", Error = "e", error_description="d", scope="s"',
            Challenge("Bearer", "api", "e", "d"),
        ),
        ('Bearer error="first", error="second"', Challenge("Bearer", "", "first", "")),
        ("Basic realm=" + "x" * LONGEST_HEADER, Challenge("Basic", "x" * 3988, "", "")),
    ],
)
def test_what_is_read(header, challenge):
    """Scheme, realm and error are read as they are sent; what is missing is empty."""
    assert read_challenge(header) == challenge


@pytest.mark.parametrize("header", ["", "  ", " " * LONGEST_HEADER + "Basic"])
def test_no_challenge(header):
    """A blank header has no challenge."""
    assert read_challenge(header) is None
