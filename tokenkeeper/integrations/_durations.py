"""The buckets of the metrics that measure how long a token request takes."""

from __future__ import annotations

__all__ = ["DURATION_BUCKETS"]

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""In seconds: from a server nearby to a request that used up its retries."""
