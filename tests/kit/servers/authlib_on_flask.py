"""Authlib's authorization server on Flask, as the tests start and control it."""

import sys
from pathlib import Path

from kit.servers.administered import Administered

PROGRAM = Path(__file__).with_name("authlib_server.py")


class AuthlibOnFlask(Administered):
    """The server, with the client "worker"; further clients have the fields of its store's.

    :param lifetime_seconds: the lifetime of tokens whose client does not set another.
    :param port: the port to listen on; 0 for any free port.
    :param without: the grants that it does not support.
    :param audiences: the audiences of assertions that it accepts: "issuer", "token_endpoint", or
        both, as by default.
    """

    def __init__(self, *, lifetime_seconds=3600, port=0, without=(), audiences=()):
        options = [f"--lifetime={lifetime_seconds}", f"--port={port}"]
        options += [f"--without={grant_type}" for grant_type in without]
        options += [f"--audience={audience}" for audience in audiences]
        super().__init__(sys.executable, str(PROGRAM), *options)
        self.clients["worker"] = "worker-secret"

    @property
    def port(self):
        """The port that it listens on."""
        return int(self.issuer.rpartition(":")[2])

    def decide(self, user_code, **decision):
        """Play the person: ``approved=True`` or ``False``; or the server: ``required_seconds``."""
        self.admin("POST", "devices", {"user_code": user_code, **decision})

    def step(self, seconds):
        """Let time pass for device codes; return when each poll arrived."""
        return self.admin("POST", "clock", {"seconds": seconds})["polls"]

    def revoke_access_tokens(self, client_id):
        """Revoke all access tokens of a client, which is not notified."""
        self.admin("POST", "revoke", {"client_id": client_id})

    def revoke_refresh_tokens(self, client_id):
        """Revoke all refresh tokens of a client, which is not notified."""
        self.admin("POST", "revoke", {"client_id": client_id, "refresh_tokens": True})
