"""The identifiers of token types, and their short names."""

import pytest

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.token_types import TOKEN_TYPES, checked_token_type

RFC_8693 = {"access_token", "refresh_token", "id_token", "saml1", "saml2", "jwt"}


@pytest.mark.parametrize("name", sorted(RFC_8693))
def test_short_names(name):
    """Each name of RFC 8693 §3 stands for its URI."""
    assert checked_token_type(name, "x") == f"urn:ietf:params:oauth:token-type:{name}"


@pytest.mark.parametrize("uri", [*TOKEN_TYPES.values(), "https://x.test/type", "urn:aws:a4"])
def test_uris(uri):
    """A URI is sent as it is."""
    assert checked_token_type(uri, "x") == uri


@pytest.mark.parametrize("value", ["", "JWT", "a b:c", "urn:", 3, None])
def test_anything_else(value):
    """Other values are refused by name."""
    with pytest.raises(InvalidConfigurationError) as caught:
        checked_token_type(value, "subject_token_type")
    assert caught.value.field == "subject_token_type"
