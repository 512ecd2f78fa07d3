"""Authlib's authorization server on Flask, started by the tests, and what they do with it."""

import sys
from pathlib import Path

from servers.administered import Administered

PROGRAM = Path(__file__).with_name("authlib_server.py")


class AuthlibOnFlask(Administered):
    """The server, with the client "worker" on it; others have the fields of its store's clients.

    :param lifetime_seconds: how long tokens live whose client says nothing else.
    :param port: where to listen; 0 for any free port.
    :param without: grants that it does not have.
    """

    def __init__(self, *, lifetime_seconds=3600, port=0, without=()):
        options = [f"--lifetime={lifetime_seconds}", f"--port={port}"]
        options += [f"--without={grant_type}" for grant_type in without]
        super().__init__(sys.executable, str(PROGRAM), *options)
        self.clients["worker"] = "worker-secret"

    @property
    def port(self):
        """Where it listens."""
        return int(self.issuer.rpartition(":")[2])

    def revoke_access_tokens(self, client_id):
        """Revoke all access tokens of a client, without a word to it."""
        self.admin("POST", "revoke", {"client_id": client_id})

    def revoke_refresh_tokens(self, client_id):
        """Revoke all refresh tokens of a client, without a word to it."""
        self.admin("POST", "revoke", {"client_id": client_id, "refresh_tokens": True})
