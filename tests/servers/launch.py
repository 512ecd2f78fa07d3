"""Start a server that others wrote, as a program of its own, and be told where it listens.

Such a program prints one line of JSON about itself once it serves, and ends when its standard
input does: so none outlives the tests, however they end.
"""

import json
import select
import subprocess

START_SECONDS = 30.0
STOP_SECONDS = 10.0


class Launched:
    """A server that runs.

    :ivar about: what it said about itself, ``issuer`` among it.
    """

    def __init__(self, *command, **options):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )
        line = ""
        if select.select([self.process.stdout], [], [], START_SECONDS)[0]:
            line = self.process.stdout.readline()
        if not line:
            self.process.kill()
            raise RuntimeError(f"{command} did not start: exit code {self.process.wait()}")
        self.about = json.loads(line)

    @property
    def issuer(self):
        """The server's URL, without a slash at its end."""
        return self.about["issuer"]

    def stop(self):
        """End it, and wait until it has ended."""
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
