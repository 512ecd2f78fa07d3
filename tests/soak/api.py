"""Presents tokens to the server's API, which returns a verdict on each."""

import http.client
import json
import queue
import threading

TIMEOUT_SECONDS = 30.0
LONGEST_QUEUE = 2000

IN_ORDER = ("good", "ended on its way", "revoked")
"""Verdicts that the keeper is not to blame for. It hears of a revocation a moment later, and can't
know before. From then on the judges watch for the token."""


class Api:
    """One connection to the server, for one thread at a time."""

    def __init__(self, about):
        self._connection = http.client.HTTPConnection(
            about["host"], about["port"], timeout=TIMEOUT_SECONDS
        )

    def verdict(self, token, handed_out):
        """Return the server's verdict on *token*, which was handed out at that moment."""
        headers = {"Authorization": f"Bearer {token}", "Handed-Out": f"{handed_out:.6f}"}
        return self._ask("GET", "/api", None, headers)["verdict"]

    def revoke(self, token):
        """Revoke *token* at the server."""
        self._ask("POST", "/revoke", token)

    def books(self):
        """Return everything that the server has counted."""
        return self._ask("GET", "/books")

    def _ask(self, method, path, body=None, headers=()):
        self._connection.request(method, path, body, dict(headers))
        return json.loads(self._connection.getresponse().read())

    def close(self):
        self._connection.close()


class Presenter:
    """A thread that presents tokens, so that no caller waits for the API.

    :ivar refused: the tokens that the server rejected, with its verdict.
    :ivar left_out: how many were not presented because the queue was full.
    """

    def __init__(self, about):
        self._api = Api(about)
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="presenter", daemon=True)
        self.presented = 0
        self.left_out = 0
        self.refused = []

    def start(self):
        self._thread.start()

    def present(self, token, handed_out):
        """Present *token* soon."""
        if self._queue.qsize() < LONGEST_QUEUE:
            self._queue.put((token, handed_out))
        else:
            self.left_out += 1

    def _work(self):
        while item := self._queue.get():
            verdict = self._api.verdict(*item)
            self.presented += 1
            if verdict not in IN_ORDER:
                self.refused.append(f"{verdict}: {item[0]}")
        self._api.close()

    def stop(self):
        """Present what is still in the queue, and stop."""
        self._queue.put(None)
        self._thread.join(TIMEOUT_SECONDS)
