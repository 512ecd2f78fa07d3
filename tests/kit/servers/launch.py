"""Start another project's server as a separate program, and read its address.

The program prints one line of JSON about itself once it serves, and exits when its standard input
is closed, so it does not outlive the tests.
"""

import json
import select
import subprocess

from kit.guards import GUARD_SECONDS

STOP_SECONDS = 10.0


class Launched:
    """A running server.

    :ivar about: the JSON that it printed, with ``issuer``.
    """

    def __init__(self, *command, **options):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        line = ""
        if select.select([self.process.stdout], [], [], GUARD_SECONDS)[0]:
            line = self.process.stdout.readline()
        if not line:
            self.process.kill()
            raise RuntimeError(f"{command} did not start: exit code {self.process.wait()}")
        self.about = json.loads(line)

    @property
    def issuer(self):
        """The server's URL, without a trailing slash."""
        return self.about["issuer"]

    def stop(self):
        """Stop the server, and wait for its exit."""
        self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()
