"""The challenges of a WWW-Authenticate header: the first, and what one says of a DPoP proof."""

import pytest

from tokenkeeper.oauth.challenges import (
    LONGEST_HEADER,
    Challenge,
    proof_error,
    read_challenge,
)


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


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ('DPoP error="use_dpop_nonce", error_description="nonce please"', "use_dpop_nonce"),
        ('Bearer realm="a", DPoP algs="ES256", error="use_dpop_nonce"', "use_dpop_nonce"),
        ("DPoP Error=invalid_dpop_proof", "invalid_dpop_proof"),
        ('DPoP error="invalid_token"', None),
        ('DPoP error_description="error=use_dpop_nonce"', None),
        ('DPoP error_description="it says \\"error=\\"use_dpop_nonce\\" \\""', None),
        ("DPoP use_dpop_nonce", None),
        ('DPoP xerror="use_dpop_nonce"', None),
        ("", None),
        (" " * LONGEST_HEADER + 'DPoP error="use_dpop_nonce"', None),
    ],
)
def test_what_is_said_of_a_proof(header, error):
    """An error about a proof is found in any of the challenges, and in no other text."""
    assert proof_error(header) == error
