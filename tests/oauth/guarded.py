"""The providers that we ship, each with a scripted server, for tests of rules common to all."""

import base64
import json
import os
import tempfile
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import quote

import google.auth.crypt
import google.oauth2.credentials
import google.oauth2.service_account
import requests
import requests.adapters
from cryptography.hazmat.primitives.asymmetric import rsa
from kit.servers.google import new_key

import tokenkeeper
from tokenkeeper import AzureADProvider, GenericOAuth2Provider, OAuth2Config, OAuth2Token
from tokenkeeper.integrations.google import GoogleCredentialsProvider
from tokenkeeper.providers.google import GoogleProvider
from tokenkeeper.providers.google_impersonation import GoogleImpersonation
from tokenkeeper.providers.grants.token_exchange import TokenExchange

SECRET = "s3cr3t~canary/4711"
REFRESH = "r3fresh~canary/4712"
TOKEN = "t0ken.canary.4713"
GRANT = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
CANARIES = ("canary", "471")
TENANT = "contoso.example"
PACKAGE = str(Path(tokenkeeper.__file__).parent)


@cache
def google_signer():
    """Return the signer of a service account, made once: loading a key is slow."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return google.auth.crypt.RSASigner(key, "the-key-id")


class Shipped:
    """One of our providers, and how to request a token from it."""

    scheme = "http"
    secrets = f"{SECRET} {REFRESH}"
    """Secrets that a server may echo."""

    def make(self, url, **options):
        raise NotImplementedError

    def ask(self, provider):
        return provider.acquire_token()

    def before(self, server, reply):
        """Return the server's scripts for the requests before the token request."""
        return []


class Generic(Shipped):
    """OAuth2 with a client secret."""

    def __init__(self, method="client_secret_basic"):
        self.method = method

    def make(self, url, **options):
        config = OAuth2Config("api", "id", SECRET, url)
        return GenericOAuth2Provider(config, token_endpoint_auth_method=self.method, **options)


class Azure(Shipped):
    """Entra ID's token endpoint."""

    scheme = "https"

    def make(self, url, **options):
        authority = url.partition("/token")[0]
        return AzureADProvider("api", "id", SECRET, TENANT, authority=authority, **options)

    def before(self, server, reply):
        origin = server.url.partition("/token")[0]
        document = {
            "token_endpoint": f"{origin}/token",
            "authorization_endpoint": f"{origin}/authorize",
            "issuer": f"{origin}/{TENANT}/v2.0",
        }
        return [reply(json.dumps(document).encode())]


class AzureDiscovery(Azure):
    """Entra ID's discovery request, which carries no secret but follows the same rules."""

    def before(self, server, reply):
        return []


class Issuer(Shipped):
    """OAuth2 with a client secret, and a token endpoint that the metadata names."""

    def make(self, url, **options):
        config = OAuth2Config("api", "id", SECRET, issuer=url.partition("/token")[0])
        return GenericOAuth2Provider(config, **options)

    def before(self, server, reply):
        origin = server.url.partition("/token")[0]
        document = {"issuer": origin, "token_endpoint": f"{origin}/token"}
        return [reply(json.dumps(document).encode())]


class IssuerDiscovery(Issuer):
    """The requests for metadata, which carry no secret but follow the same rules."""

    def before(self, server, reply):
        return []


class GoogleUser(Shipped):
    """A refresh token of google-auth."""

    def make(self, url, **options):
        credentials = google.oauth2.credentials.Credentials(
            None, refresh_token=REFRESH, token_uri=url, client_id="id", client_secret=SECRET
        )
        return GoogleCredentialsProvider("api", credentials, **options)


class GoogleAccount(Shipped):
    """A service account of google-auth."""

    secrets = ""  # its only secret is its key

    def make(self, url, **options):
        credentials = google.oauth2.service_account.Credentials(
            google_signer(), "me@example.com", url, scopes=["read"]
        )
        return GoogleCredentialsProvider("api", credentials, **options)


class Exchange(Generic):
    """A token exchange, whose subject is a secret too."""

    def make(self, url, **options):
        config = OAuth2Config("api", "id", SECRET, url)
        return GenericOAuth2Provider(config, grant=TokenExchange(REFRESH), **options)


@cache
def google_key():
    """Return the folder of a service account's key, made once: making a key is slow."""
    folder = tempfile.TemporaryDirectory()
    (Path(folder.name) / "key.pem").write_text(new_key()[0])
    return folder


class GoogleKey(Shipped):
    """A service account's key file, without google-auth."""

    secrets = ""  # its only secret is its key

    def make(self, url, **options):
        folder = Path(google_key().name)
        content = {
            "type": "service_account",
            "client_email": "me@example.com",
            "private_key": (folder / "key.pem").read_text(),
            "token_uri": url,
        }
        (folder / "key.json").write_text(json.dumps(content))
        return GoogleProvider("api", folder / "key.json", scope="read", **options)


class Impersonating(Shipped):
    """A service account that another identity acts as; the secret is the identity's token."""

    secrets = SECRET

    def make(self, url, **options):
        origin = url.partition("/token")[0]
        return GoogleImpersonation("api", lambda: SECRET, "me", endpoint=origin, **options)


class Borrowing(Shipped):
    """The same provider with a caller's session whose settings would break the rules."""

    def __init__(self, shipped):
        self.shipped = shipped
        self.scheme = shipped.scheme
        self.secrets = shipped.secrets
        self.ask, self.before = shipped.ask, shipped.before

    def make(self, url, **options):
        session = requests.Session()
        retries = requests.adapters.Retry(3, status_forcelist=[503], allowed_methods=None)
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retries))
        return self.shipped.make(url, session=session, **options)


SHIPPED = {
    "basic": Generic(),
    "post": Generic("client_secret_post"),
    "azure": Azure(),
    "azure-discovery": AzureDiscovery(),
    "issuer": Issuer(),
    "issuer-discovery": IssuerDiscovery(),
    "google-user": GoogleUser(),
    "google-account": GoogleAccount(),
    "exchange": Exchange(),
    "google-key": GoogleKey(),
    "google-impersonation": Impersonating(),
    "basic-session": Borrowing(Generic()),
    "post-session": Borrowing(Generic("client_secret_post")),
    "azure-session": Borrowing(Azure()),
    "issuer-session": Borrowing(Issuer()),
    "google-session": Borrowing(GoogleUser()),
}


def old_token():
    """Return an expired token with a refresh token."""
    return OAuth2Token(TOKEN, "Bearer", datetime(2020, 1, 1, tzinfo=UTC), None, REFRESH)


def forms_of(secret):
    """Yield the forms of *secret* on the wire."""
    yield from (secret, quote(secret, safe=""), quote(secret))
    for each in (secret, quote(secret, safe="")):
        yield base64.b64encode(f"id:{each}".encode()).decode()


def shows_a_canary(text):
    """Return whether *text* contains a secret or a token, plain or encoded."""
    return any(form in text for each in (SECRET, REFRESH, TOKEN) for form in forms_of(each))


def what_a_tracker_records(error):
    """Yield the local variables of our frames, as an error tracker records them.

    The error's causes and contexts are included.
    """
    seen, queue = set(), [error]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), repr(each), repr(vars(each)))
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if frame.f_code.co_filename.startswith(PACKAGE + os.sep):
                for name, value in frame.f_locals.items():
                    yield from (f"{name}={written}" for written in written_down(value))
        queue += [each.__cause__, each.__context__]


def written_down(value):
    """Yield what a tracker records of *value*, including the items of containers."""
    if isinstance(value, str):
        yield str.__str__(value)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from written_down(name)
            yield from written_down(inner)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for inner in value:
            yield from written_down(inner)
    else:
        yield repr(value)
