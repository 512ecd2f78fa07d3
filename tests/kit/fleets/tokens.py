"""A token server whose tokens say when they were granted, so that any process can judge them."""

import threading
import time

from kit.servers.base import Answer, LoopbackServer


def now():
    """Return the time on the clock that all processes of this machine share, suspends included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def token_text(number, granted_at, lifetime):
    """Return the text of a token."""
    return f"fleet-{number}-{granted_at:.6f}-{lifetime:g}"


def is_of_a_token_server(token):
    """Return whether *token* is one of a :class:`TokenServer`."""
    return token.startswith("fleet-")


def granted_at(token):
    """Return when *token* was granted."""
    return float(token.split("-")[2])


def expires_at(token):
    """Return when the server rejects *token*."""
    _, _, granted, lifetime = token.split("-")
    return float(granted) + float(lifetime)


class TokenServer(LoopbackServer):
    """Grants tokens to every client.

    :ivar lifetime: of the tokens granted from now on, in seconds.
    :ivar delay: how long a request takes.
    :ivar is_down: whether requests are answered with 503.
    :ivar refuses: whether clients are refused.
    :ivar requests: the times of all token requests.
    :ivar revoked: the tokens that the API rejects.
    """

    def __init__(self, lifetime=3.0, delay=0.02):
        self.lifetime = lifetime
        self.delay = delay
        self.is_down = self.refuses = False
        self.requests = []
        self.granted = []
        self._lock = threading.Lock()  # guards the two lists
        super().__init__()

    @property
    def token_url(self):
        return f"{self.origin}/token"

    def answer(self, request):
        sent = now()
        with self._lock:
            self.requests.append(sent)
            number = len(self.requests)
        time.sleep(self.delay)
        if self.is_down:
            return Answer(503)
        if self.refuses:
            return Answer(401, {"error": "invalid_client"})
        # The lifetime begins when the request arrived, which is the least that a server can mean.
        token = token_text(number, sent, self.lifetime)
        with self._lock:
            self.granted.append(token)
        return Answer(
            200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        )
