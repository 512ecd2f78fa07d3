"""A provider that plays a token endpoint: slow, out of order, or with short-lived tokens.

The mocks of ``tokenkeeper.testing`` have locks and gates, which a forked child would copy in any
state, and which would count as part of a renewal here.
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
    """Grants tokens that say when they end; takes its time; raises ``error`` if there is one.

    Each token names the moment when it ends, so that whoever reads it can tell a dead one.
    """

    def __init__(self, name="api", *, takes=0.0, lifetime=3600.0, clock=SYSTEM_CLOCK, **options):
        super().__init__(name, **options)
        self.takes = takes
        self.lifetime = lifetime
        self.clock = clock
        self.error = None
        self.requests = []  # of each the process, the thread and the moment

    def acquire_token(self):
        came = self.clock.monotonic()
        thread = threading.current_thread().name
        self.requests.append((os.getpid(), thread, came))
        # The life begins when the request comes in: the worst case for who waits for the answer.
        ends = self.clock.time() + self.lifetime
        if self.takes:
            time.sleep(self.takes)
        if self.error is not None:
            raise self.error
        token = f"{came + self.lifetime:.6f}.{len(self.requests)}.{PADDING}"
        return OAuth2Token(token, "Bearer", datetime.fromtimestamp(0, UTC) + timedelta(0, ends))


def is_dead(token, now):
    """Say whether the server would refuse *token* at the moment *now* of the provider's clock."""
    return now >= ends_at(token)


def ends_at(token):
    """Return when *token* ends, on the provider's clock."""
    return float(token[: token.index(".", token.index(".") + 1)])
