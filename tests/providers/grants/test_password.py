"""Password: what it sends (RFC 6749 §4.3.2)."""

from urllib.parse import parse_qsl

import pytest
import responses

from tokenkeeper import (
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    TokenAcquisitionError,
)
from tokenkeeper.providers.grants.password import Password

URL = "https://id.example.com/token"
CONFIG = OAuth2Config("api", "me", "secret", URL, scope="read")
GRANT = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}


@pytest.fixture
def wire():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def test_request(wire, tmp_path):
    """Name and password are sent with the scope; a password in a file is read for each request."""
    wire.post(URL, json=GRANT)
    file = tmp_path / "password"
    provider = GenericOAuth2Provider(CONFIG, grant=Password("ann", file))
    for password in ("first", "second"):
        file.write_text(password)
        provider.acquire_token()
    forms = [sorted(call.request.body.split("&")) for call in wire.calls]
    assert forms[0] == ["grant_type=password", "password=first", "scope=read", "username=ann"]
    assert "password=second" in forms[1]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_letters_of_any_language(wire, tmp_path, mark):
    """A password has any letter (RFC 6749 A.16); a file has it in UTF-8, as some editors write."""
    wire.post(URL, json=GRANT)
    file = tmp_path / "password"
    file.write_bytes(mark + "pässwörd\n".encode())
    for password in ("pässwörd", file):
        GenericOAuth2Provider(CONFIG, grant=Password("ann", password)).acquire_token()
    for call in wire.calls:
        assert dict(parse_qsl(call.request.body))["password"] == "pässwörd"


def test_a_password_that_is_echoed(wire):
    """A wrong password is explained, and hidden wherever the server echoes it."""
    echo = {"error": "invalid_grant", "error_description": "no: correct horse battery"}
    wire.post(URL, json=echo, status=400)
    grant = Password("ann", "correct horse battery")
    with pytest.raises(TokenAcquisitionError, match="username or the password") as caught:
        GenericOAuth2Provider(CONFIG, grant=grant).acquire_token()
    assert "horse" not in str(caught.value) + repr(grant) + repr(grant.identity())


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("", "x"), "username"),
        ((None, "x"), "username"),
        (("ann", ""), "password"),
        (("ann", None), "password"),
    ],
)
def test_options_that_cannot_work(arguments, field):
    """Empty and missing values are refused when the grant is made."""
    with pytest.raises(InvalidConfigurationError) as caught:
        Password(*arguments)
    assert caught.value.field == field
