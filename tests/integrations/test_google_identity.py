"""Which credentials of google-auth have the same tokens in a store, and which do not."""

import google.auth.aws
import google.auth.compute_engine
import google.auth.credentials
import google.auth.identity_pool
import google.auth.impersonated_credentials
import google.auth.jwt
import google.oauth2.credentials
import google.oauth2.service_account
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kit.servers.recording import Recording

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.google import GoogleCredentialsProvider
from tokenkeeper.testing.stores import MemoryTokenStore

TOKEN_URL = "https://oauth2.googleapis.com/token"


class Signer:
    """Stands in for a private key, which makes no difference: it is rotated."""

    key_id = "a-key"


def user(refresh_token="1//one", scopes=("a",)):
    return google.oauth2.credentials.Credentials(
        None, refresh_token, token_uri=TOKEN_URL, client_id="c", client_secret="s", scopes=scopes
    )


def account(email="one@example.com", **options):
    return google.oauth2.service_account.Credentials(Signer(), email, TOKEN_URL, **options)


def pool(source, kind=google.auth.identity_pool.Credentials, **options):
    return kind(
        audience="//iam.googleapis.com/pool",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        token_url="https://sts.googleapis.com/v1/token",
        credential_source=source,
        **options,
    )


def impersonated(source, target="robot@example.com"):
    return google.auth.impersonated_credentials.Credentials(source, target, ["a"])


def aws(**options):
    source = {
        "environment_id": "aws1",
        "regional_cred_verification_url": "https://sts.{region}.amazonaws.com",
    }
    return pool(source, google.auth.aws.Credentials, **options)


URL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:generateAccessToken"

KNOWN = {
    "user": user,
    "another user": lambda: user("1//two"),
    "a user's other scopes": lambda: user(scopes=("b",)),
    "service account": account,
    "another service account": lambda: account("two@example.com"),
    "for a user": lambda: account(subject="ann@example.com"),
    "with other scopes": lambda: account(scopes=["b"]),
    "metadata server": google.auth.compute_engine.Credentials,
    "of an account": lambda: google.auth.compute_engine.Credentials("one@example.com"),
    "a file": lambda: pool({"file": "/one"}),
    "another file": lambda: pool({"file": "/two"}),
    "impersonation": lambda: impersonated(account()),
    "of another account": lambda: impersonated(account(), "other@example.com"),
    "by another account": lambda: impersonated(account("two@example.com")),
    "AWS, as an account": lambda: aws(service_account_impersonation_url=URL.format("one")),
    "AWS, as another": lambda: aws(service_account_impersonation_url=URL.format("two")),
    "JWT": lambda: google.auth.jwt.Credentials(Signer(), "me", "me", "https://pubsub.example"),
    "JWT for another API": lambda: google.auth.jwt.Credentials(Signer(), "me", "me", "https://x"),
}


class OwnCredentials(google.auth.credentials.Credentials):
    """Credentials of a user's own class."""

    def refresh(self, request):
        self.token = "token"


UNKNOWN = {
    "AWS": aws,
    "own class": OwnCredentials,
    "impersonation by an own class": lambda: impersonated(OwnCredentials()),
    "handler": lambda: google.oauth2.credentials.Credentials(None, refresh_handler=print),
}


def identity(make):
    """Return what a store compares."""
    return GoogleCredentialsProvider("google", make()).identity()


@pytest.mark.parametrize("make", KNOWN.values(), ids=KNOWN)
def test_equal_credentials(make):
    """Two processes with the same credentials share tokens."""
    assert identity(make) == identity(make)


def test_different_credentials():
    """Credentials that differ in an account, a scope or an audience share none."""
    found = [identity(make)["credentials"] for make in (*KNOWN.values(), *UNKNOWN.values())]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("make", UNKNOWN.values(), ids=UNKNOWN)
def test_credentials_that_do_not_state_whose_they_are(make):
    """Tokens whose owner is not known are not shared, except with forked children."""
    provider = GoogleCredentialsProvider("google", make())
    assert provider.identity() == provider.identity()
    assert provider.identity() != identity(make)


def test_the_account_of_a_machine(monkeypatch):
    """The default account of one machine is not that of another."""
    one = identity(google.auth.compute_engine.Credentials)
    monkeypatch.setattr(
        "tokenkeeper.integrations._google_identity.this_machine", lambda: "another machine"
    )
    assert identity(google.auth.compute_engine.Credentials) != one


def test_a_set_of_scopes():
    """A set has no order, which would differ from process to process."""
    in_order = identity(lambda: account(scopes=["a", "b", "c"]))
    assert identity(lambda: account(scopes={"c", "a", "b"})) == in_order


def test_no_secret():
    """An identity shows no refresh token, and no header of a source."""
    assert "1//one" not in repr(identity(user))


def test_two_services_in_one_store():
    """Services that chose the same name get the tokens of their own accounts."""
    pem = (
        rsa.generate_private_key(65537, 2048)
        .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        .decode()
    )
    store, tokens = MemoryTokenStore(), {}
    with Recording() as endpoint:
        for email in ("one@example.com", "two@example.com"):
            endpoint.reply = (200, {"access_token": f"of-{email}", "expires_in": 3599})
            credentials = google.oauth2.service_account.Credentials.from_service_account_info(
                {"client_email": email, "token_uri": endpoint.token_url, "private_key": pem},
                scopes=["a"],
            )
            with TokenKeeper(store=store) as keeper:
                keeper.add_provider(GoogleCredentialsProvider("google", credentials))
                tokens[email] = keeper.get_token("google")
    assert tokens == {email: f"of-{email}" for email in tokens}
