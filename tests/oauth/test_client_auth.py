"""Client authentication."""

import base64

import pytest

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_auth import client_auth


def decoded(header):
    kind, _, credentials = header.partition(" ")
    assert kind == "Basic"
    return base64.b64decode(credentials).decode()


def test_basic_is_form_encoded():
    """Both parts are form-encoded before they are joined, with %20 for a space."""
    auth = client_auth("client_secret_basic", "my:id", "p %+/ä")
    assert decoded(auth.authorization()) == "my%3Aid:p%20%25%2B%2F%C3%A4"
    assert auth.parameters() == {}


def test_basic_raw():
    """On request both parts are sent unencoded."""
    auth = client_auth("client_secret_basic", "id", "p %+/ä", form_encode=False)
    assert decoded(auth.authorization()) == "id:p %+/ä"


def test_basic_raw_with_a_colon():
    """An unencoded identifier with a colon, which servers can't parse, is refused."""
    with pytest.raises(InvalidConfigurationError, match="colon"):
        client_auth("client_secret_basic", "my:id", "secret", form_encode=False)


def test_post():
    """In the body both parts are sent as parameters, without a header."""
    auth = client_auth("client_secret_post", "id", "p %+/ä")
    assert auth.authorization() is None
    assert auth.parameters() == {"client_id": "id", "client_secret": "p %+/ä"}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_no_secret_in_the_repr(method):
    """The repr does not show the secret, and secrets() lists it."""
    auth = client_auth(method, "id", "hunter2")
    assert "hunter2" not in repr(auth)
    assert "hunter2" in auth.secrets()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_secrets_in_every_header(method):
    """The texts to hide include both forms of HTTP Basic, whatever the method."""
    secrets = client_auth(method, "me:too", "p +x").secrets()
    for pair in (b"me:too:p +x", b"me%3Atoo:p%20%2Bx"):
        assert base64.b64encode(pair).decode() in secrets


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("field", ["client_id", "client_secret"])
def test_what_is_not_utf_8(method, field):
    """A byte that is not UTF-8 is refused without showing the rest of the value."""
    values = {"client_id": "me", "client_secret": "secret"} | {field: "hunter2\udcff"}
    with pytest.raises(InvalidConfigurationError, match=f"{field} contains a byte") as caught:
        client_auth(method, **values)
    assert caught.value.field == field
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def test_unknown_method():
    """An unknown method is refused; the message lists the supported ones."""
    with pytest.raises(InvalidConfigurationError, match="client_secret_post") as caught:
        client_auth("tls_client_auth", "id", "secret")
    assert caught.value.field == "token_endpoint_auth_method"


def test_a_public_client():
    """A public client sends its identifier only, and has no secret to hide."""
    client = client_auth("none", "my app", None)
    assert client.authorization() is None
    assert client.parameters() == {"client_id": "my app"}
    assert client.secrets() == []
