"""oidc-provider on Node, as the tests install, start and control it."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from kit.programs import unavailable
from kit.servers.administered import SECRET, Administered

HOME = Path(__file__).with_name("oidc_provider")
INSTALL_SECONDS = 300


def install():
    """Install the packages of ``package-lock.json`` once; skip the test if there is no Node.

    If ``CI`` or ``TOKENKEEPER_INTEROP=all`` is set, the test fails without Node instead.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        unavailable("oidc-provider needs Node.js 20 or later, and npm")
    wanted = hashlib.sha256((HOME / "package-lock.json").read_bytes()).hexdigest()
    with (HOME / ".lock").open("w") as lock:  # outside of node_modules, which npm ci empties
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


class OidcProvider(Administered):
    """The server, with the client "worker"; further clients have the fields of RFC 7591."""

    def __init__(self):
        install()
        super().__init__("node", str(HOME / "server.mjs"), stderr=subprocess.DEVNULL)
        self.add_client("worker", "worker-secret")

    def add_client(self, client_id, client_secret=SECRET, **registration):
        """Register a client; ``lifetime_seconds`` and ``delay_seconds`` are extensions."""
        super().add_client(client_id, client_secret, **{"scope": "read write", **registration})

    def revoke(self, token):
        """Have the API reject *token* from now on; no client is notified."""
        self.admin("POST", "revoke", {"token": token})
