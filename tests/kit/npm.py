"""Packages for Node, which the tests install as a lock file says."""

import fcntl
import hashlib
import shutil
import subprocess

from kit.programs import unavailable

INSTALL_SECONDS = 300


def install(home, what):
    """Install the packages of ``package-lock.json`` once; skip the test if there is no Node.

    If ``CI`` or ``TOKENKEEPER_INTEROP=all`` is set, the test fails without Node instead.

    :param home: the folder of the lock file; the packages go to its ``node_modules``.
    :param what: the program that needs them.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        unavailable(f"{what} needs Node.js 20 or later, and npm")
    wanted = hashlib.sha256((home / "package-lock.json").read_bytes()).hexdigest()
    with (home / ".lock").open("w") as lock:  # outside of node_modules, which npm ci empties
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = home / "node_modules" / ".tokenkeeper"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        command = ["npm", "ci", "--ignore-scripts"]
        run = subprocess.run(
            command, cwd=home, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
        assert run.returncode == 0, f"npm failed:\n{run.stdout}\n{run.stderr}"
        stamp.write_text(wanted)
