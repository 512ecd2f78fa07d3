"""Client authentication."""

import base64

import pytest
from kit.oauth_client import proof_of

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_auth import (
    ClientSecretBasic,
    PublicClient,
    client_auth,
    client_auth_of,
    encoding_advice,
    refusal_advice,
)


def decoded(header):
    kind, _, credentials = header.partition(" ")
    assert kind == "Basic"
    return base64.b64decode(credentials).decode()


def test_basic_is_form_encoded():
    """Both parts are form-encoded before they are joined, with %20 for a space."""
    auth = proof_of(client_auth("client_secret_basic", "my:id", "p %+/ä"), "my:id")
    assert decoded(auth.authorization) == "my%3Aid:p%20%25%2B%2F%C3%A4"
    assert auth.parameters == {}


def test_basic_by_itself():
    """Without options the class does what the RFC says, as the function does."""
    auth = proof_of(ClientSecretBasic("p +"), "my id")
    assert decoded(auth.authorization) == "my%20id:p%20%2B"
    assert auth.parameters == {}


@pytest.mark.parametrize("form_encode", [True, False])
def test_basic_with_the_identifier(form_encode):
    """On request the identifier is also a parameter, unencoded until the form is written."""
    auth = client_auth(
        "client_secret_basic", "my id", "p", form_encode=form_encode, send_client_id=True
    )
    assert proof_of(auth, "my id").parameters == {"client_id": "my id"}


def test_basic_raw():
    """On request both parts are sent unencoded."""
    auth = client_auth("client_secret_basic", "id", "p %+/ä", form_encode=False)
    assert decoded(proof_of(auth).authorization) == "id:p %+/ä"


def test_post():
    """In the body both parts are sent as parameters, without a header."""
    auth = client_auth("client_secret_post", "id", "p %+/ä")
    proof = proof_of(auth)
    assert proof.authorization is None
    assert proof.parameters == {"client_id": "id", "client_secret": "p %+/ä"}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_no_secret_in_the_repr(method):
    """No repr shows the secret, and the proof lists it as one."""
    auth = client_auth(method, "id", "hunter2")
    assert "hunter2" not in repr(auth) + repr(proof_of(auth))
    assert "hunter2" in proof_of(auth).secrets()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_secrets_in_every_header(method):
    """The texts to hide include both forms of HTTP Basic, whatever the method."""
    secrets = list(proof_of(client_auth(method, "me:too", "p +x"), "me:too").secrets())
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


@pytest.mark.parametrize(
    ("arguments", "field", "message"),
    [
        (
            {"method": "tls_client_auth"},
            "token_endpoint_auth_method",
            (
                "token_endpoint_auth_method 'tls_client_auth' is not supported. Use "
                "'client_secret_basic', 'client_secret_post' or 'none'."
            ),
        ),
        (
            {"client_secret": None},
            "client_secret",
            (
                "client_secret is missing. token_endpoint_auth_method 'client_secret_basic' "
                "requires it; for a client without a secret, set token_endpoint_auth_method to "
                "'none'."
            ),
        ),
        (
            {"client_id": "my:id", "form_encode": False},
            "client_id",
            "client_id must not contain a colon if it is not form-encoded (RFC 7617 §2).",
        ),
    ],
)
def test_what_can_not_be_sent(arguments, field, message):
    """What no request can be made with is refused; the message says what to set."""
    usual = {"method": "client_secret_basic", "client_id": "id", "client_secret": "hunter2"}
    with pytest.raises(InvalidConfigurationError) as caught:
        client_auth(**usual | arguments)
    assert (caught.value.field, str(caught.value)) == (field, message)


@pytest.mark.parametrize(
    ("method", "secret", "form_encode", "advises"),
    [
        ("client_secret_basic", "p+/=", True, "form_encode_credentials=False"),
        ("client_secret_basic", "p+/=", False, "form_encode_credentials=True"),
        ("client_secret_basic", "plain-7", True, ""),
        ("client_secret_post", "p+/=", True, ""),
        ("none", None, True, ""),
    ],
)
def test_advice_on_the_encoding(method, secret, form_encode, advises):
    """A refused client is advised to try the other encoding, if that makes a difference."""
    advice = encoding_advice(client_auth(method, "id", secret, form_encode=form_encode), "id")
    assert advises in advice
    assert bool(advice) is bool(advises)


@pytest.mark.parametrize(("secret", "has_more"), [("plain-7", False), ("p+/=", True)])
def test_advice_on_a_refusal(secret, has_more):
    """Advice on the encoding follows the usual advice on secrets, if the encoding matters."""
    client = client_auth("client_secret_basic", "id", secret)
    advice = refusal_advice(client, "id", "Check the secret.")
    more = f" {encoding_advice(client, 'id')}" if has_more else ""
    assert advice == f"Check the secret.{more}"


@pytest.mark.parametrize("form_encode", [True, False])
def test_the_text_of_that_advice(form_encode):
    """The advice names both options to try."""
    client = client_auth("client_secret_basic", "id", "p+", form_encode=form_encode)
    assert encoding_advice(client, "id") == (
        "Form-encoding changes this id or secret, and not every server decodes it. Try "
        f"form_encode_credentials={not form_encode}, or "
        'token_endpoint_auth_method="client_secret_post".'
    )


def test_a_public_client():
    """A public client sends its identifier only, and has no secret to hide."""
    proof = proof_of(client_auth("none", "my app", None), "my app")
    assert proof.authorization is None
    assert proof.parameters == {"client_id": "my app"}
    assert list(proof.secrets()) == []


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ("private_key_jwt", {}, "must be a ClientAuth, such as PrivateKeyJwt(...), not str"),
        (PublicClient, {}, "such as PrivateKeyJwt(...), not the class PublicClient"),
        (PublicClient(), {"method": "none"}, "can't be combined with token_endpoint_auth_method"),
        (PublicClient(), {"client_secret": "hunter2"}, "can't be combined with client_secret"),
    ],
    ids=["no authentication", "a class", "two methods", "a secret"],
)
def test_one_authentication_alone(given, options, says):
    """What is given in place of a secret is a ClientAuth, and excludes the other ways."""
    usual = {"method": None, "client_id": "me", "client_secret": None}
    with pytest.raises(InvalidConfigurationError) as caught:
        client_auth_of(given, **usual | options)
    assert caught.value.field == "client_auth"
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
