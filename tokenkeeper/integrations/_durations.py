"""The buckets of the metrics that measure durations and ages, in seconds."""

from __future__ import annotations

__all__ = ["AGE_BUCKETS", "DURATION_BUCKETS", "STORE_BUCKETS"]

DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a server nearby to a request that used up its retries."""

STORE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5)
"""From a store on the same machine to one that times out twice."""

AGE_BUCKETS = (0.1, 0.25, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""From a token that was granted just now to one of an hour."""
