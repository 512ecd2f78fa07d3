"""Credentials of google-auth as a provider, against a real token endpoint."""

import google.oauth2.credentials
import pytest

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper.integrations.google import GoogleCredentialsProvider
from tokenkeeper.testing import LoopbackAuthorizationServer


@pytest.fixture
def server():
    with LoopbackAuthorizationServer(refresh_tokens=True) as server:
        yield server


def test_credentials_as_a_provider(server):
    """Each renewal refreshes the credentials; what they can't do is an error of ours."""
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
    """The error names the provider, and says what google-auth said."""
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
