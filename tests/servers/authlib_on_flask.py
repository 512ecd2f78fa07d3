"""Authlib's authorization server on Flask, started by the tests, and what they do with it."""

import sys
from pathlib import Path

import urllib3

from servers.launch import Launched
from tokenkeeper import OAuth2Config

PROGRAM = Path(__file__).with_name("authlib_server.py")
SECONDS = 30.0  # who does not answer in this time never will
SECRET = "a-secret-that-nothing-shows"


class AuthlibOnFlask(Launched):
    """The server, with the client "worker" on it.

    :param lifetime_seconds: how long tokens live whose client says nothing else.
    :param port: where to listen; 0 for any free port.
    :param without: grants that it does not have.
    """

    def __init__(self, *, lifetime_seconds=3600, port=0, without=()):
        options = [f"--lifetime={lifetime_seconds}", f"--port={port}"]
        options += [f"--without={grant_type}" for grant_type in without]
        super().__init__(sys.executable, str(PROGRAM), *options)
        self.http = urllib3.PoolManager(maxsize=64, timeout=SECONDS)
        self.clients = {"worker": "worker-secret"}

    @property
    def token_endpoint(self):
        """Where tokens are asked for."""
        return self.about["token_endpoint"]

    @property
    def port(self):
        """Where it listens."""
        return int(self.issuer.rpartition(":")[2])

    def add_client(self, client_id, client_secret=SECRET, **registration):
        """Register a client; *registration* has the fields of ``authlib_store.Client``."""
        client = {"client_id": client_id, "client_secret": client_secret, **registration}
        self._admin("POST", "clients", client)
        self.clients[client_id] = client_secret

    def revoke_access_tokens(self, client_id):
        """Revoke all access tokens of a client, without a word to it."""
        self._admin("POST", "revoke", {"client_id": client_id})

    def revoke_refresh_tokens(self, client_id):
        """Revoke all refresh tokens of a client, without a word to it."""
        self._admin("POST", "revoke", {"client_id": client_id, "refresh_tokens": True})

    def stats(self, client_id):
        """Return what was counted for a client; 0 for what never was."""
        return Counts(self._admin("GET", "stats").get(client_id, {}))

    def config(self, name, client_id="worker", **options):
        """Return the registration of *client_id*, for a provider called *name*."""
        fields = {
            "client_secret": self.clients.get(client_id, SECRET),
            "token_url": self.token_endpoint,
            "scope": "read",
            **options,
        }
        return OAuth2Config(name, client_id, **fields)

    def call(self, token):
        """Call the API with *token*; return the status and what it said."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = self.http.request("GET", self.issuer + "/resource", headers=headers)
        return answer.status, answer.json()

    def stop(self):
        """End it, and the connections to it."""
        super().stop()
        self.http.clear()

    def _admin(self, method, what, body=None):
        answer = self.http.request(method, f"{self.issuer}/admin/{what}", json=body)
        assert answer.status == 200, answer.data
        return answer.json()


class Counts(dict):
    """Counts by name; what was never counted is 0."""

    def __missing__(self, name):
        return 0
