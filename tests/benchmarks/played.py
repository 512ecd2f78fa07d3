"""A provider that acts as a token endpoint: slow, failing, or with short-lived tokens.

The mocks of ``tokenkeeper.testing`` have locks and gates. A forked child would copy them in any
state, and their cost would count as part of a renewal.
"""

import os
import threading
import time
from datetime import UTC, datetime, timedelta

from tokenkeeper import BaseOAuth2Provider, OAuth2Token
from tokenkeeper.clock import SYSTEM_CLOCK

PADDING = "x" * 1170
"""Makes a token about as long as a JWT with a few claims: 1.2 KB."""


class PlayedServer(BaseOAuth2Provider):
    """Grants tokens after a delay, or raises ``error`` if it is set.

    Each token contains its expiry, so that a reader can recognize an expired one.
    """

    def __init__(self, name="api", *, takes=0.0, lifetime=3600.0, clock=SYSTEM_CLOCK, **options):
        super().__init__(name, **options)
        self.takes = takes
        self.lifetime = lifetime
        self.clock = clock
        self.error = None
        self.requests = []  # for each request its process, thread and time

    def acquire_token(self):
        came = self.clock.monotonic()
        thread = threading.current_thread().name
        self.requests.append((os.getpid(), thread, came))
        # The lifetime begins when the request arrives, which is the worst case for a caller.
        ends = self.clock.time() + self.lifetime
        if self.takes:
            time.sleep(self.takes)
        if self.error is not None:
            raise self.error
        token = f"{came + self.lifetime:.6f}.{len(self.requests)}.{PADDING}"
        return OAuth2Token(token, "Bearer", datetime.fromtimestamp(0, UTC) + timedelta(0, ends))


def is_dead(token, now):
    """Return whether *token* has expired at *now*, on the provider's clock."""
    return now >= ends_at(token)


def ends_at(token):
    """Return when *token* expires, on the provider's clock."""
    return float(token[: token.index(".", token.index(".") + 1)])
