"""Ourselves and our peers behind one small interface, each set up as its documentation says.

A peer is imported where it is used; one that is not installed is reported as absent.
"""

import functools
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version

import played_http

SCOPES = ["https://api.example.com/.default"]
API = "https://api.example.com/things"
RENEWAL_SECONDS = 2
"""A renewal is due about this long after a token was granted."""


class Peer:
    """One library, or one way to use it. The docstrings of subclasses are shown to readers.

    :cvar name: as it is in the tables.
    :cvar package: its distribution.
    :cvar statement: the import that a service needs.
    :cvar read: a statement that reads a token of ``subject``; timed as it stands.
    :cvar lifetime: of a token whose renewal this library begins two seconds after it came.
    """

    name = package = statement = read = ""
    lifetime = 3600

    def build(self, client):
        """Return an object without a token, as a service shares one among its threads."""
        raise NotImplementedError

    def held(self, number):
        """Return an object with a token of an hour, without using the network."""
        played_http.play()
        subject = self.build(played_http.client(number))
        self.token(subject)
        return subject

    def names(self):
        """Return the names that ``read`` needs beside its subject."""
        return {}

    def fleet(self, names):
        """Return an object for each of *names*, each with a token of an hour."""
        return {name: self.held(number) for number, name in enumerate(names)}

    def read_of_fleet(self, indent):
        """Return a statement that reads the token of ``name`` from ``subjects``."""
        return f"subject = subjects[name]\n{indent}{self.read}"

    def close_fleet(self, subjects):
        """Close all *subjects*."""
        for subject in subjects.values():
            self.close(subject)

    def token(self, subject):
        """Return the token, read as ``read`` does."""
        return eval(self._code, {"subject": subject, **self._names})

    def close(self, subject):
        """Close *subject*."""

    @property
    def called(self):
        """How the library was set up and called, in one line."""
        return " ".join(self.__doc__.split())

    @functools.cached_property
    def _code(self):
        return compile(self.read, self.name, "eval")

    @functools.cached_property
    def _names(self):
        return self.names()

    @property
    def version(self):
        """The installed version; empty if it is not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return ""


class Tokenkeeper(Peer):
    """One `TokenKeeper` with a `GenericOAuth2Provider`; `get_token(name)`."""

    name = "Tokenkeeper"
    package = "tokenkeeper-oauth2"
    statement = "from tokenkeeper import TokenKeeper, GenericOAuth2Provider"
    read = "subject.get_token('api')"
    lifetime = 4

    @property
    def version(self):
        import tokenkeeper

        return tokenkeeper.__version__

    def build(self, client):
        from tokenkeeper import TokenKeeper

        keeper = TokenKeeper()
        keeper.add_provider(self.provider("api", client))
        return keeper

    def provider(self, name, client):
        """Return the provider for *client*."""
        from tokenkeeper import GenericOAuth2Provider, OAuth2Config

        return GenericOAuth2Provider(
            OAuth2Config(name, client.client_id, client.client_secret, client.token_url)
        )

    def fleet(self, names):
        """Return one keeper, which has all providers."""
        from tokenkeeper import TokenKeeper

        played_http.play()
        keeper = TokenKeeper()
        for number, name in enumerate(names):
            keeper.add_provider(self.provider(name, played_http.client(number)))
            keeper.get_token(name)
        return keeper

    def read_of_fleet(self, indent):
        return "subjects.get_token(name)"

    def close_fleet(self, subjects):
        subjects.close()

    def close(self, subject):
        subject.close()


class TokenkeeperInline(Tokenkeeper):
    """The same with `background=False`: the first caller makes the request itself."""

    name = "Tokenkeeper, `background=False`"

    def build(self, client):
        from tokenkeeper import TokenKeeper

        keeper = TokenKeeper(background=False)
        keeper.add_provider(self.provider("api", client))
        return keeper


class Msal(Peer):
    """One `ConfidentialClientApplication`; `acquire_token_for_client(scopes)`."""

    name = "msal"
    package = "msal"
    statement = "import msal"
    read = "subject.acquire_token_for_client(SCOPES)['access_token']"
    lifetime = 5 * 60 + RENEWAL_SECONDS

    def build(self, client):
        import msal

        return msal.ConfidentialClientApplication(
            client.client_id,
            client_credential=client.client_secret,
            authority=client.authority,
            instance_discovery=False,
        )

    def names(self):
        return {"SCOPES": SCOPES}


class AzureIdentity(Peer):
    """One `ClientSecretCredential`; `get_token(scope)`."""

    name = "azure-identity"
    package = "azure-identity"
    statement = "from azure.identity import ClientSecretCredential"
    read = "subject.get_token(SCOPE).token"
    lifetime = 5 * 60 + RENEWAL_SECONDS

    def build(self, client):
        from azure.identity import ClientSecretCredential
        from endpoint import TENANT

        return ClientSecretCredential(
            TENANT,
            client.client_id,
            client.client_secret,
            authority=client.base,
            disable_instance_discovery=True,
            connection_verify=client.ca_file,
        )

    def names(self):
        return {"SCOPE": SCOPES[0]}

    def close(self, subject):
        subject.close()


class GoogleAuth(Peer):
    """One `google.oauth2.credentials.Credentials` with a refresh token; `before_request(...)`."""

    name = "google-auth"
    package = "google-auth"
    statement = "import google.oauth2.credentials, google.auth.transport.requests"
    read = "subject.before_request(REQUEST, 'GET', API, HEADERS)"
    lifetime = 225 + RENEWAL_SECONDS

    def build(self, client):
        from google.oauth2.credentials import Credentials

        return Credentials(
            None,
            refresh_token="refresh-token",
            token_uri=client.token_url,
            client_id=client.client_id,
            client_secret=client.client_secret,
        )

    def names(self):
        from google.auth.transport.requests import Request

        return {"REQUEST": Request(), "API": API, "HEADERS": {}}

    def token(self, subject):
        headers = {}
        subject.before_request(self._names["REQUEST"], "GET", API, headers)
        return headers["authorization"].removeprefix("Bearer ")


class GoogleAuthInBackground(GoogleAuth):
    """The same after `with_non_blocking_refresh()`."""

    name = "google-auth, background refresh"

    def build(self, client):
        subject = super().build(client)
        subject.with_non_blocking_refresh()
        return subject


class Botocore(Peer):
    """One `DeferredRefreshableCredentials`; `get_frozen_credentials()`.

    Its `refresh_using` posts on one `requests.Session`.
    """

    name = "botocore"
    package = "botocore"
    statement = "import botocore.credentials"
    read = "subject.get_frozen_credentials().token"
    lifetime = 15 * 60 + RENEWAL_SECONDS

    def build(self, client):
        import requests
        from botocore.credentials import DeferredRefreshableCredentials

        session = requests.Session()

        def refresh():
            answer = session.post(
                client.token_url,
                {"grant_type": "client_credentials"},
                auth=(client.client_id, client.client_secret),
                timeout=10,
            )
            answer.raise_for_status()
            granted = answer.json()
            ends = datetime.now(UTC) + timedelta(seconds=granted["expires_in"])
            return {
                "access_key": "key",
                "secret_key": "secret",
                "token": granted["access_token"],
                "expiry_time": ends.isoformat(),
            }

        return DeferredRefreshableCredentials(refresh, "oauth2")


class Authlib(Peer):
    """One `OAuth2Session`; `ensure_active_token`, as each of its requests does.

    It doesn't fetch a first token: a caller without one calls `fetch_token`.
    """

    name = "Authlib"
    package = "Authlib"
    statement = "from authlib.integrations.requests_client import OAuth2Session"
    read = "subject.ensure_active_token(subject.token) and subject.token['access_token']"
    lifetime = 60 + RENEWAL_SECONDS

    def build(self, client):
        from authlib.integrations.requests_client import OAuth2Session

        return OAuth2Session(
            client.client_id,
            client.client_secret,
            token_endpoint=client.token_url,
            grant_type="client_credentials",
        )

    def token(self, subject):
        if subject.token is None:
            return subject.fetch_token()["access_token"]
        return super().token(subject)


class RequestsOAuth2Client(Peer):
    """One `OAuth2ClientCredentialsAuth`, called on a prepared request."""

    name = "requests_oauth2client"
    package = "requests_oauth2client"
    statement = "import requests_oauth2client"
    read = "subject(PREPARED)"
    lifetime = 20 + RENEWAL_SECONDS

    def build(self, client):
        from requests_oauth2client import OAuth2Client, OAuth2ClientCredentialsAuth

        pair = (client.client_id, client.client_secret)
        return OAuth2ClientCredentialsAuth(OAuth2Client(client.token_url, auth=pair))

    def names(self):
        return {"PREPARED": _prepared()}

    def token(self, subject):
        return subject(_prepared()).headers["Authorization"].removeprefix("Bearer ")


class Databricks(Peer):
    """One `databricks.sdk.oauth.ClientCredentials`, which is a `Refreshable`; `token()`."""

    name = "databricks-sdk"
    package = "databricks-sdk"
    statement = "from databricks.sdk.oauth import ClientCredentials"
    read = "subject.token().access_token"
    lifetime = 40 + RENEWAL_SECONDS

    def build(self, client):
        from databricks.sdk.oauth import ClientCredentials

        return ClientCredentials(
            client.client_id, client.client_secret, client.token_url, use_header=True
        )


class DatabricksInBackground(Databricks):
    """The same with `disable_async=False`, and a `stale_duration` of three minutes.

    By default a renewal would begin after half of a lifetime that is longer than 80 s.
    """

    name = "databricks-sdk, background refresh"
    lifetime = 180 + RENEWAL_SECONDS

    def build(self, client):
        from databricks.sdk.oauth import Refreshable

        subject = super().build(client)
        Refreshable.__init__(subject, disable_async=False, stale_duration=timedelta(minutes=3))
        return subject


BLOCKING = (
    Tokenkeeper(),
    Authlib(),
    Databricks(),
    RequestsOAuth2Client(),
    GoogleAuth(),
    Botocore(),
    Msal(),
    AzureIdentity(),
)
INLINE = TokenkeeperInline()
IN_BACKGROUND = (GoogleAuthInBackground(), DatabricksInBackground())


def installed(peers):
    """Return the installed ones of *peers*."""
    return [peer for peer in peers if peer.version]


def absent():
    """Return a sentence about the peers that are not installed."""
    names = [peer.name for peer in BLOCKING if not peer.version]
    return f" Not installed, so not measured: {', '.join(names)}." if names else ""


def _prepared():
    from requests import Request

    return Request("GET", API).prepare()
