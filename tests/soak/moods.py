"""When the server fails, and how: shares of single requests, and outages in turn."""

import random
from dataclasses import asdict, dataclass

OUTAGE_MODES = ("503", "reset", "stall", "502 page")

GARBAGE = {
    "a page": (200, "text/html", "<html><body>Please log in</body></html>"),
    "cut JSON": (200, "application/json", '{"access_token": "cut~'),
    "no token": (200, "application/json", '{"token_type": "Bearer", "expires_in": 3600}'),
    "token 7": (200, "application/json", '{"access_token": 7, "expires_in": 3600}'),
    "token empty": (200, "application/json", '{"access_token": "", "expires_in": 3600}'),
    "token in two": (200, "application/json", '{"access_token": "bad~1 bad", "expires_in": 3600}'),
    "expires -5": (200, "application/json", '{"access_token": "bad~2", "expires_in": -5}'),
    "expires 0": (200, "application/json", '{"access_token": "bad~3", "expires_in": 0}'),
    "type mac": (200, "application/json", '{"access_token": "bad~4", "token_type": "mac"}'),
    "twice": (200, "application/json", '{"access_token": "bad~5", "access_token": "bad~6"}'),
    "a list": (200, "application/json", '["bad~7"]'),
    "cut body": None,  # fewer bytes than Content-Length, then the connection is closed
}
"""Answers without a usable token. Nothing of them may ever be handed out."""

SLOW_SECONDS = (0.1, 0.3)
"""Not a fault, but enough time for the clock to be set or the process to be forked."""


@dataclass(frozen=True)
class Moods:
    """The plan of all faults. An immutable value that the server and its callers share.

    :param sites: outages hit one site after the other; each provider uses one of them.
    :param calm: seconds between outages, with single faults only.
    :param short: seconds of an outage that is shorter than a token's lifetime.
    :param long: seconds of an outage that is longer.
    """

    seed: int = 1
    sites: int = 4
    calm: float = 6.0
    short: float = 1.2
    long: float = 8.0
    errors: float = 0.30
    stalls: float = 0.05
    garbage: float = 0.05
    slow: float = 0.20

    as_dict = asdict

    def outage_at(self, site, elapsed):
        """Return ``(which, length, mode)`` of the outage at *site*; ``None`` between outages."""
        cycle = 2 * self.calm + self.short + self.long
        turn, within = divmod(elapsed - site * cycle / self.sites, cycle)
        if turn < 0:
            return None
        mode = self.seed + site + int(turn)
        if self.calm <= within < self.calm + self.short:
            return f"{site}-{int(turn)}", "short", OUTAGE_MODES[mode % len(OUTAGE_MODES)]
        if within >= 2 * self.calm + self.short:
            return f"{site}-{int(turn)}", "long", OUTAGE_MODES[(mode + 2) % len(OUTAGE_MODES)]
        return None

    def draws(self, site):
        """Return a function that draws the kind and the details of the next request's fault."""
        chance = random.Random(f"{self.seed} {site}")
        names = tuple(GARBAGE)

        def draw():
            at = chance.random()
            if at < self.errors:
                return "5xx", chance.choice((500, 502, 503, 503, 504))
            at -= self.errors
            if at < self.stalls:
                return "stall", chance.choice(("for good", "answers late"))
            at -= self.stalls
            if at < self.garbage:
                return "garbage", chance.choice(names)
            at -= self.garbage
            return ("slow", chance.uniform(*SLOW_SECONDS)) if at < self.slow else (None, None)

        return draw
