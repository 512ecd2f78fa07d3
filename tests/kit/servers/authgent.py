"""authgent-server, as the tests start and control it."""

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import urllib3

from kit.programs import unavailable
from kit.servers.launch import Launched
from tokenkeeper import OAuth2Config

PROGRAM = Path(__file__).with_name("authgent_program.py")
SECONDS = 30.0
GRANTS = [
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
]


class Authgent(Launched):
    """The server, without a client.

    :param trust: issuers whose JWTs it accepts as assertions.
    :param lifetime_seconds: the lifetime of exchanged tokens.
    """

    def __init__(self, *, trust=(), lifetime_seconds=300):
        if importlib.util.find_spec("authgent_server") is None:
            unavailable("authgent-server is missing: pip install authgent-server")
        self._folder = tempfile.TemporaryDirectory()
        options = [f"--trust={issuer}" for issuer in trust] + [f"--lifetime={lifetime_seconds}"]
        super().__init__(
            *[sys.executable, str(PROGRAM), *options],
            cwd=self._folder.name,
            stderr=subprocess.DEVNULL,
        )
        self.http = urllib3.PoolManager(maxsize=32, timeout=SECONDS)

    def register(self, name, *, scope="read write", grants=(), **options):
        """Register a client (RFC 7591); return the registration of a provider called *name*."""
        client = {"client_name": name, "grant_types": [*GRANTS, *grants], "scope": scope}
        answer = self.http.request("POST", f"{self.issuer}/register", json=client)
        assert answer.status == 201, answer.data
        known = answer.json()
        url = self.about["token_endpoint"]
        return OAuth2Config(name, known["client_id"], known["client_secret"], url, **options)

    def revoke(self, config, token):
        """Revoke a token of a client (RFC 7009)."""
        fields = {
            "token": token,
            "client_id": config.client_id,
            "client_secret": config.client_secret,
        }
        answer = self.http.request_encode_body(
            "POST", f"{self.issuer}/revoke", fields, encode_multipart=False
        )
        assert answer.status == 200, answer.data

    def stop(self):
        """Stop the server, and remove its database."""
        super().stop()
        self.http.clear()
        self._folder.cleanup()
