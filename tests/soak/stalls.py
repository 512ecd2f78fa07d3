"""Moments at which the machine let no thread of this process run."""

import threading

from soak.truth import boot

BEAT_SECONDS = 0.02

STALL_SECONDS = 0.2
"""A thread that wakes later than this met a stall. Shorter ones are within every slack."""

REMEMBERED = 64


class Stalls:
    """Notices stalls in a thread that sleeps again and again, from :meth:`start` on.

    The stalls are published in single assignments, because the process may fork at any moment. A
    forked child has those of its parent, and starts its own thread.
    """

    def __init__(self):
        self._stalls = ()  # (when it began, when it ended), in order

    def start(self):
        """Begin to watch this process."""
        self._over = threading.Event()  # not before a fork, which may find its lock taken
        self._thread = threading.Thread(target=self._beat, name="stalls", daemon=True)
        self._thread.start()

    def stop(self):
        """Stop watching."""
        self._over.set()
        self._thread.join()

    def _beat(self):
        before, over = boot(), False
        while not over:
            over = self._over.wait(BEAT_SECONDS)
            now = boot()
            if now - before > STALL_SECONDS:
                self.note(before, now)
            before = now

    def note(self, began, ended):
        """Note a stall."""
        self._stalls = (*self._stalls[-REMEMBERED:], (began, ended))

    def earlier(self, moment, seconds):
        """Return the moment that was *seconds* before *moment*, not counting stalls.

        What happened in the library just before *moment* happened after the result.
        """
        for began, ended in reversed(self._stalls):
            if began >= moment:
                continue
            ended = min(ended, moment)
            if moment - ended >= seconds:
                break
            seconds -= moment - ended
            moment = began
        return moment - seconds
