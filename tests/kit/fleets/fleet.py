"""Starts a fleet, steers it, and reads what its processes met."""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path

from kit.guards import PROGRAM_SECONDS, until
from kit.processes import PATH
from tokenkeeper.schedule import deadlines

FILE_LOCK = "file lock"
"""In place of a store: the processes share a file, and lock it."""


class Fleet:
    """Processes that share a store, in a ``with`` block.

    :param store: the argument ``store`` of their keepers; ``None`` for none.
    :param server: a :class:`~kit.fleets.tokens.TokenServer`, whose tokens they ask for.
    :param seconds: for how long they ask.
    :param pause: how long each waits between two calls.
    :param provider: further settings of the provider.
    :ivar pids: the processes that were started, in order.
    """

    def __init__(
        self,
        store,
        server,
        *,
        seconds,
        pause=0.05,
        timeout=30.0,
        closes=False,
        environment=None,
        **provider,
    ):
        self._temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self._temporary.name)
        self.pids = []
        self.server = server
        provider = {
            "client_id": "worker",
            "client_secret": "fleet-secret",
            "token_url": server.token_url,
            **provider,
        }
        config = {
            "store": None if store == FILE_LOCK else store,
            "file_lock": store == FILE_LOCK,
            "provider": provider,
            "seconds": seconds,
            "pause": pause,
            "timeout": timeout,
            "margin": _margin(getattr(server, "lifetime", 3.0)),
            "closes": closes,
        }
        (self.folder / "config.json").write_text(json.dumps(config))
        self._log = (self.folder / "stderr.txt").open("w")
        self.nursery = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore::DeprecationWarning",
                "-m",
                "kit.fleets.worker",
                self.folder,
            ],
            env={**os.environ, "PYTHONPATH": PATH, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def start(self, count):
        """Start *count* more processes, and return their ids once they are ready."""
        self.nursery.stdin.write(f"{count}\n")
        self.nursery.stdin.flush()
        pids = [int(self.nursery.stdout.readline()) for _ in range(count)]
        self.pids += pids
        until(
            lambda: all(self._is_ready(pid) for pid in pids),
            lambda: f"the start of the fleet ({self.failures()})",
            limit=PROGRAM_SECONDS,
            pause=0.01,
        )
        return pids

    def _is_ready(self, pid):
        path = self.folder / f"{pid}.jsonl"
        return path.exists() and path.stat().st_size > 0

    def flag(self, name):
        """Set a flag that all processes look at."""
        (self.folder / name).touch()

    def go(self):
        """Let all processes begin to ask; return when that was."""
        self.flag("go")

    def signal(self, number, pids=None):
        """Send a signal to all processes, or to some."""
        for pid in self.pids if pids is None else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, pids=None, limit=PROGRAM_SECONDS):
        """Wait until the processes have ended."""
        pids = self.pids if pids is None else pids
        until(
            lambda: not any(_exists(pid) for pid in pids),
            lambda: f"the end of the fleet ({self.failures()})",
            limit=limit,
            pause=0.02,
        )

    def events(self, pid):
        """Return what a process wrote down."""
        path = self.folder / f"{pid}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = []
        for line in lines:
            with suppress(ValueError):  # the last line of a process that was killed
                found.append(json.loads(line))
        return found

    def all_events(self, kind=None):
        """Return what all processes wrote down, in the order of time."""
        found = [each for pid in self.pids for each in self.events(pid)]
        found = [each for each in found if kind is None or each["event"] == kind]
        return sorted(found, key=lambda each: each["at"])

    def story(self):
        """Return what happened so far and last, for messages of tests."""
        events = self.all_events()
        counts = Counter(each["event"] for each in events)
        texts = [each.get("text") or each.get("reason") for each in events[-400:]]
        return f"{dict(counts)} {list(dict.fromkeys(filter(None, texts)))[-4:]}"

    def failures(self):
        """Return why processes failed, for messages of tests."""
        texts = [path.read_text() for path in self.folder.glob("*.failed")]
        return (self.folder / "stderr.txt").read_text()[-2000:] + "".join(texts)[-2000:]

    def met(self):
        """Return the sums of what the processes met."""
        total = defaultdict(float)
        for pid in self.pids:
            counted = [each for each in self.events(pid) if "reads" in each]
            if counted:
                last = counted[-1]
                for name in ("reads", "expired", "errors", "errors_while_valid"):
                    total[name] += last[name]
                for name in ("slowest_while_valid", "slowest"):
                    total[name] = max(total[name], last[name])
        assert not self.failures(), self.failures()
        return dict(total)

    def generations(self):
        """Return how many tokens were served."""
        return len({each["granted_at"] for each in self.all_events("token")})

    def adoption_seconds(self):
        """Return how long each process took to adopt each token after it was published."""
        published = {}
        for kind in ("TokenAcquired", "TokenRenewed"):
            for each in self.all_events(kind):
                published.setdefault(each["generation"], each["at"])
        delays = [
            each["at"] - published[each["generation"]]
            for each in self.all_events("TokenAdopted")
            if each["generation"] in published
        ]
        return [max(0.0, delay) for delay in delays]

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self.nursery.stdin.close()
        self.nursery.kill()
        self.nursery.wait()
        self.nursery.stdout.close()
        self._log.close()
        self._temporary.cleanup()


def _margin(lifetime):
    """Return a token's safety margin in seconds, plus a little for the measurement."""
    times = deadlines(0.0, lifetime, 300.0, 0.0)
    return times.ends_at - times.dead_at + 0.15


def _exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def median(values):
    """Return the median; 0 without values."""
    return statistics.median(values) if values else 0.0


def nap(seconds):
    """Let the fleet live for a while."""
    time.sleep(seconds)
