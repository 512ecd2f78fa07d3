"""Authlib's authorization server on Flask, started and controlled by tests."""

import sys
from pathlib import Path

from kit.servers.administered import Administered

PROGRAM = Path(__file__).with_name("authlib_server.py")


class AuthlibOnFlask(Administered):
    """The server, with the client "worker"; more clients have the fields of the store's ``Client``.

    :param lifetime_seconds: the token lifetime of clients registered without one.
    :param port: where to listen; 0 for any free port.
    :param without: grant types to leave out.
    """

    def __init__(self, *, lifetime_seconds=3600, port=0, without=()):
        options = [f"--lifetime={lifetime_seconds}", f"--port={port}"]
        options += [f"--without={grant_type}" for grant_type in without]
        super().__init__(sys.executable, str(PROGRAM), *options)
        self.clients["worker"] = "worker-secret"

    @property
    def port(self):
        """The port that it listens on."""
        return int(self.issuer.rpartition(":")[2])

    def revoke_access_tokens(self, client_id):
        """Revoke all access tokens of a client."""
        self.admin("POST", "revoke", {"client_id": client_id})

    def revoke_refresh_tokens(self, client_id):
        """Revoke all refresh tokens of a client."""
        self.admin("POST", "revoke", {"client_id": client_id, "refresh_tokens": True})
