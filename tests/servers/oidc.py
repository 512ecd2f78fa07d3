"""oidc-provider on Node, installed once and started by the tests, and what they do with it."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import urllib3

from servers.launch import Launched
from tokenkeeper import OAuth2Config

HOME = Path(__file__).with_name("oidc_provider")
INSTALL_SECONDS = 300
SECONDS = 30.0  # who does not answer in this time never will
SECRET = "a-secret-that-nothing-shows"


def install():
    """Install what ``package-lock.json`` says, unless that was done; skip where there is no Node.

    Where ``CI`` or ``TOKENKEEPER_INTEROP=all`` is set, a machine without Node fails instead.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        must = os.environ.get("CI") or os.environ.get("TOKENKEEPER_INTEROP") == "all"
        (pytest.fail if must else pytest.skip)("oidc-provider needs Node.js 20 or later, and npm")
    wanted = hashlib.sha256((HOME / "package-lock.json").read_bytes()).hexdigest()
    with (HOME / ".lock").open("w") as lock:  # beside node_modules, which npm ci empties first
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = HOME / "node_modules" / ".tokenkeeper"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        command = ["npm", "ci", "--ignore-scripts"]
        run = subprocess.run(
            command, cwd=HOME, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
        assert run.returncode == 0, f"npm failed:\n{run.stdout}\n{run.stderr}"
        stamp.write_text(wanted)


class OidcProvider(Launched):
    """The server, with the client "worker" on it."""

    def __init__(self):
        install()
        super().__init__("node", str(HOME / "server.mjs"), stderr=subprocess.DEVNULL)
        self.http = urllib3.PoolManager(maxsize=64, timeout=SECONDS)
        self.clients = {}
        self.add_client("worker", "worker-secret")

    @property
    def token_endpoint(self):
        """Where tokens are asked for."""
        return self.about["token_endpoint"]

    def add_client(self, client_id, client_secret=SECRET, **metadata):
        """Register a client; *metadata* is as RFC 7591 has it, and ``lifetime_seconds`` ours."""
        client = {"client_id": client_id, "client_secret": client_secret, "scope": "read write"}
        self._admin("POST", "clients", {**client, **metadata})
        self.clients[client_id] = client_secret

    def revoke(self, token):
        """Have the API take *token* no more, without a word to anybody."""
        self._admin("POST", "revoke", {"token": token})

    def stats(self, client_id):
        """Return what was counted for a client."""
        names = ("token_requests", "grants", "resource_calls", "resource_refusals", "most_at_once")
        return dict.fromkeys(names, 0) | self._admin("GET", "stats").get(client_id, {})

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
