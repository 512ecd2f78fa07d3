"""Credentials of google-auth as a provider, against a real token endpoint."""

import base64
import json
import time
from datetime import UTC, datetime
from email.utils import formatdate

import google.auth.aio.credentials
import google.auth.credentials
import google.auth.identity_pool
import google.auth.impersonated_credentials
import google.auth.jwt
import google.oauth2.credentials
import google.oauth2.service_account
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kit.servers.base import Answer
from kit.servers.recording import Recording

from tokenkeeper import (
    InvalidConfigurationError,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.integrations.google import GoogleCredentialsProvider
from tokenkeeper.testing import LoopbackAuthorizationServer, SteppedClock


@pytest.fixture
def server():
    with LoopbackAuthorizationServer(refresh_tokens=True) as server:
        yield server


def test_credentials_as_a_provider(server):
    """Each renewal refreshes the credentials; a failure is an error of ours."""
    import requests

    first = requests.post(
        server.token_url,
        {"grant_type": "client_credentials"},
        auth=(server.client_id, server.client_secret.replace(" ", "%20")),
        timeout=30,
    ).json()
    credentials = google.oauth2.credentials.Credentials(
        None,
        refresh_token=first["refresh_token"],
        token_uri=server.token_url,
        client_id=server.client_id,
        client_secret=server.client_secret,
        scopes=["read"],
    )
    with TokenKeeper() as keeper:
        keeper.add_provider(GoogleCredentialsProvider("google", credentials))
        token = keeper.get_token("google")
        assert requests.get(
            server.api_url, headers={"Authorization": f"Bearer {token}"}, timeout=30
        ).ok
        assert keeper.get_token("google", force_refresh=True) != token
        assert keeper.get_cached_token_info("google")["remaining_seconds"] > 3000


def test_credentials_that_are_refused(server):
    """The error has the provider's name and google-auth's message."""
    credentials = google.oauth2.credentials.Credentials(
        None,
        refresh_token="unknown",
        token_uri=server.token_url,
        client_id=server.client_id,
        client_secret=server.client_secret,
    )
    with TokenKeeper() as keeper:
        keeper.add_provider(GoogleCredentialsProvider("google", credentials))
        with pytest.raises(TokenAcquisitionError, match=r"'google'.*invalid_grant") as raised:
            keeper.get_token("google")
        assert raised.value.attempts == 1


@pytest.fixture
def endpoint():
    """Return a token endpoint that answers as Google's does."""
    with Recording() as endpoint:
        endpoint.reply = (200, {"access_token": "ya29.secret", "expires_in": 3599})
        yield endpoint


@pytest.fixture
def user(endpoint):
    """Return a user's credentials, as ``gcloud auth application-default login`` writes them."""
    return google.oauth2.credentials.Credentials(
        None,
        refresh_token="1//refresh secret",
        token_uri=endpoint.token_url,
        client_id="client",
        client_secret="client secret",
    )


@pytest.fixture(scope="module")
def private_key():
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


@pytest.fixture
def account(endpoint, private_key):
    """Return the file of a service account."""
    return {
        "client_email": "me@project.iam.gserviceaccount.com",
        "token_uri": endpoint.token_url,
        "private_key": private_key,
    }


@pytest.fixture
def keeper_of():
    """Return a function that makes a keeper with credentials, without retries."""
    made = []

    def keeper_of(credentials):
        keeper = TokenKeeper(retry=RetryPolicy(attempts=1))
        made.append(keeper)
        keeper.add_provider(GoogleCredentialsProvider("google", credentials))
        return keeper

    yield keeper_of
    for keeper in made:
        keeper.close()


def test_a_service_account(endpoint, account, keeper_of):
    """A service account signs an assertion for each token, with its scopes."""
    credentials = google.oauth2.service_account.Credentials.from_service_account_info(
        account, scopes=["read", "write"]
    )
    keeper = keeper_of(credentials)
    assert keeper.get_token("google") == "ya29.secret"
    assert keeper.get_oauth2_token("google").scope == "read write"
    assert "assertion" in dict(endpoint.received[0].form)


def test_an_account_without_scopes(endpoint, account, keeper_of):
    """Google's message about a missing scope is in the error."""
    endpoint.reply = (400, {"error": "invalid_scope", "error_description": "Invalid scope."})
    credentials = google.oauth2.service_account.Credentials.from_service_account_info(account)
    with pytest.raises(TokenAcquisitionError, match="invalid_scope: Invalid scope") as raised:
        keeper_of(credentials).get_token("google")
    assert raised.value.transient is False


def test_id_tokens(endpoint, account, keeper_of):
    """Credentials for ID tokens, as for Cloud Run, work too, with the token's own expiry."""

    def part(content):
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    ends = int(time.time()) + 1800
    token = f"{part({'alg': 'none'})}.{part({'exp': ends})}.{part('signature')}"
    endpoint.reply = (200, {"id_token": token})
    kind = google.oauth2.service_account.IDTokenCredentials
    credentials = kind.from_service_account_info(account, target_audience="https://run.example")
    keeper = keeper_of(credentials)
    assert keeper.get_token("google") == token
    assert keeper.get_oauth2_token("google").expires_at == datetime.fromtimestamp(ends, UTC)


def test_a_token_of_bytes(account, keeper_of):
    """A JWT that google-auth signs itself is bytes, and is returned as text."""
    credentials = google.auth.jwt.Credentials.from_service_account_info(
        account, audience="https://pubsub.googleapis.com/"
    )
    token = keeper_of(credentials).get_token("google")
    assert token == credentials.token.decode()


def test_no_end(endpoint, user, keeper_of):
    """A token without an expiry is valid for an hour."""
    endpoint.reply = (200, {"access_token": "ya29.secret"})
    keeper = keeper_of(user)
    keeper.get_token("google")
    assert 3500 < keeper.get_cached_token_info("google")["remaining_seconds"] <= 3600


@pytest.mark.parametrize(
    ("stated", "lifetime"), [({"expires_in": 1800}, 1800), ({}, 3600)], ids=["stated", "unstated"]
)
def test_a_slow_answer(endpoint, user, monkeypatch, stated, lifetime):
    """A token's life begins when it was requested, not when the answer had arrived."""
    clock = SteppedClock()
    sent_at = clock.time()

    def now():
        return datetime.fromtimestamp(clock.time(), UTC).replace(tzinfo=None)

    def answer(_):
        clock.step(8)
        return Answer(200, {"access_token": "ya29.secret", **stated})

    monkeypatch.setattr("google.auth._helpers.utcnow", now)
    endpoint.answer = answer
    token = GoogleCredentialsProvider("google", user, clock=clock).acquire_token()
    assert token.expires_at.timestamp() == sent_at + lifetime


@pytest.mark.parametrize("scopes", ["read write", ["read", "write"]], ids=["text", "list"])
def test_scopes(endpoint, user, keeper_of, scopes):
    """A token has the scopes of the credentials, in whichever form these have them."""
    user._scopes = scopes
    assert keeper_of(user).get_oauth2_token("google").scope == "read write"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, {"id_token": "id secret", "refresh_token": "rotated secret"}),
        (400, {"error": "invalid_grant", "error_description": "not '1//refresh secret'"}),
        (400, {"problem": "no client with 'client secret'"}),
    ],
)
def test_no_secret_in_an_error(endpoint, user, keeper_of, status, said):
    """An error shows neither the rest of a response nor a secret that it echoes."""
    endpoint.reply = (status, said)
    with pytest.raises(TokenAcquisitionError, match="google-auth could not get a token") as raised:
        keeper_of(user).get_token("google")
    assert "secret" not in str(raised.value)
    assert raised.value.transient is False


@pytest.mark.parametrize("status", [429, 500, 503])
def test_no_assertion_in_an_error(endpoint, account, keeper_of, status):
    """An error does not show the signed assertion, wherever the server echoes it."""

    def echo(request):
        (assertion,) = [value for name, value in request.form if name == "assertion"]
        assertions.append(assertion)
        return Answer(status, {"error": "busy", "error_description": f"got {assertion} just now"})

    assertions = []
    endpoint.answer = echo
    credentials = google.oauth2.service_account.Credentials.from_service_account_info(
        account, scopes=["read"]
    )
    with pytest.raises(TokenAcquisitionError, match="busy") as raised:
        keeper_of(credentials).get_token("google")
    (assertion,) = assertions
    assert assertion not in str(raised.value)
    assert assertion.split(".")[2] not in str(raised.value) + repr(vars(raised.value))


@pytest.fixture
def federated(endpoint, tmp_path):
    """Return credentials of an external account, whose subject token is not a JWT."""
    file = tmp_path / "subject"
    file.write_text("subject-secret-1234567890")
    return google.auth.identity_pool.Credentials.from_info(
        {
            "type": "external_account",
            "audience": "//iam.googleapis.com/pool",
            "subject_token_type": "urn:ietf:params:oauth:token-type:saml2",
            "token_url": endpoint.token_url,
            "credential_source": {"file": str(file)},
        },
        scopes=["read"],
    )


def test_no_subject_token_in_an_error(endpoint, federated, keeper_of):
    """A refusal does not show the subject token that the server echoes."""
    said = "unknown subject-secret-1234567890 was sent"
    endpoint.reply = (400, {"error": "invalid_grant", "error_description": said})
    with pytest.raises(TokenAcquisitionError, match=r"unknown \[hidden\] was sent") as raised:
        keeper_of(federated).get_token("google")
    assert raised.value.transient is False


@pytest.mark.parametrize(
    ("slow", "ahead"),
    [(0, 0), (7200, 7200), (0, 86400)],
    ids=["right", "slow", "the date is wrong"],
)
def test_a_clock_that_is_slow(endpoint, user, slow, ahead):
    """An expiry on the server's clock is taken as what is left until then by that clock."""
    clock = SteppedClock()

    def answer(request):
        if request.path != "/generate":
            return Answer(200, {"access_token": "ya29.first", "expires_in": 3599})
        expiry = datetime.fromtimestamp(clock.time() + slow + 1800, UTC)
        date = formatdate(clock.time() + ahead, usegmt=True)
        body = {"accessToken": "ya29.robot", "expireTime": f"{expiry:%Y-%m-%dT%H:%M:%SZ}"}
        return Answer(200, body, headers={"Date": date})

    endpoint.answer = answer
    credentials = google.auth.impersonated_credentials.Credentials(
        user, "me@example.com", ["read"], iam_endpoint_override=f"{endpoint.origin}/generate"
    )
    token = GoogleCredentialsProvider("google", credentials, clock=clock).acquire_token()
    assert token.expires_at.timestamp() == clock.time() + 1800


def test_an_impersonation_that_is_refused(endpoint, user, keeper_of):
    """The reason is in the error. The token that was presented is not."""

    def answer(request):
        if request.path == "/generate":
            return Answer(403, {"error": {"message": f"{request.bearer}: permission denied"}})
        return Answer(200, {"access_token": "ya29.first-secret-123456", "expires_in": 3599})

    endpoint.answer = answer
    credentials = google.auth.impersonated_credentials.Credentials(
        user, "me@example.com", ["read"], iam_endpoint_override=f"{endpoint.origin}/generate"
    )
    with pytest.raises(TokenAcquisitionError, match=r"\[hidden\]: permission denied") as raised:
        keeper_of(credentials).get_token("google")
    assert "ya29" not in str(raised.value)


def test_an_impersonation_without_an_expiry(endpoint, user, keeper_of):
    """An answer with a token is not shown, even if it can't be used."""
    body = {"access_token": "x", "expires_in": 3599, "accessToken": "ya29.robot-secret"}
    endpoint.reply = (200, body)
    credentials = google.auth.impersonated_credentials.Credentials(
        user, "me@example.com", ["read"], iam_endpoint_override=f"{endpoint.origin}/generate"
    )
    with pytest.raises(TokenAcquisitionError, match="invalid expiration") as raised:
        keeper_of(credentials).get_token("google")
    assert "secret" not in str(raised.value)


def test_no_server(endpoint, user, keeper_of):
    """A server that can't be reached is a temporary failure."""
    user._token_uri = "http://127.0.0.1:1/token"
    with pytest.raises(TokenAcquisitionError) as raised:
        keeper_of(user).get_token("google")
    assert raised.value.transient is True


def test_no_connection_is_kept(endpoint, user, keeper_of):
    """Each renewal opens its own connection, so none is shared with a forked child."""
    keeper = keeper_of(user)
    for _ in range(3):
        keeper.get_token("google", force_refresh=True)
    assert len({each.port for each in endpoint.received}) == 3


def test_async_credentials():
    """Credentials for async code only are rejected, and the error names the others."""
    credentials = google.auth.aio.credentials.StaticCredentials("token")
    with pytest.raises(InvalidConfigurationError, match="blocking ones") as raised:
        GoogleCredentialsProvider("google", credentials)
    assert raised.value.field == "credentials"


@pytest.mark.parametrize(
    ("credentials", "kind"),
    [
        ((google.auth.credentials.AnonymousCredentials(), "a-project"), "tuple"),
        (None, "NoneType"),
        ("key.json", "str"),
        (google.oauth2.credentials.Credentials, "ABCMeta"),
    ],
    ids=["google.auth.default()", "nothing", "a path", "a class"],
)
def test_what_is_not_credentials(credentials, kind):
    """Anything else is rejected at once, with the usual mistake."""
    with pytest.raises(InvalidConfigurationError, match=f"not {kind}. google.auth.def") as raised:
        GoogleCredentialsProvider("google", credentials)
    assert (raised.value.field, raised.value.provider_name) == ("credentials", "google")
