"""What users test with."""

from tokenkeeper.testing.clock import SteppedClock

__all__ = ["SteppedClock"]
