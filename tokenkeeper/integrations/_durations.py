"""How the time that a token takes is sorted into buckets."""

from __future__ import annotations

__all__ = ["DURATION_BUCKETS"]

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds: from a server nearby to all retries used up."""
