"""What a scenario claims of a fleet, and what it found."""

from dataclasses import dataclass, field

from tokenkeeper.schedule import deadlines


@dataclass
class Figures:
    """The outcome of one scenario.

    :ivar values: what was measured, by name.
    :ivar broken: the claims that did not hold, each with its figures.
    """

    scenario: str
    engine: str
    values: dict[str, object] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def note(self, **values):
        """Add what was measured."""
        self.values |= values

    def claim(self, holds, what):
        """Add to what is broken unless *holds*."""
        if not holds:
            self.broken.append(f"{self.scenario} on {self.engine}: {what}; {self.values}")

    def claim_service(self, fleet):
        """Claim that no process got an expired token, nor an error while it had a valid one."""
        met = fleet.met()
        self.note(**{name: met.get(name, 0) for name in ("reads", "expired", "errors")})
        self.note(slowest_ms=round(1000 * met.get("slowest_while_valid", 0.0), 1))
        self.claim(met.get("expired") == 0, "an expired token was served")
        self.claim(met.get("errors_while_valid") == 0, "an error while a token was valid")
        return met

    def check(self):
        """Fail the test if a claim is broken."""
        assert not self.broken, "\n".join(self.broken)


def needs(seconds, lifetime):
    """Return how many tokens one process needs at most in *seconds*, if nothing goes wrong."""
    shortest = deadlines(0.0, lifetime, 300.0, 1.0).renew_at
    return int(seconds / shortest) + 2
