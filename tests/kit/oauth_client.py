"""A client at its server, for tests of single requests."""

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.oauth.client import OAuthClient
from tokenkeeper.oauth.client_auth import client_auth
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.request_style import RequestStyle
from tokenkeeper.oauth.server import server_of

TOKEN_URL = "https://as.test/token"


def oauth_client(config, transport, *, auth=None, style=None, server=None):
    """Return a client of *config*, with its secret in the body unless *auth* says otherwise."""
    if auth is None:
        auth = client_auth("client_secret_post", config.client_id, config.client_secret)
    server = server or server_of(config, transport, SYSTEM_CLOCK)
    return OAuthClient(config, server, auth, transport, SYSTEM_CLOCK, style or RequestStyle())


def proof_of(auth, client_id="id", *, url=TOKEN_URL, issuer=None):
    """Return the proof of *auth* for one request."""
    return auth.prove(client_id, Recipient(url, TOKEN_URL, issuer))
