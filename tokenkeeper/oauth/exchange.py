"""One exchange with a server: the answer, and what its reader must know of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["DEFAULT_LIFETIME_SECONDS", "Expected", "HttpAnswer"]

DEFAULT_LIFETIME_SECONDS = 3600.0
"""How long a token lives whose server does not say; ``expires_in`` is only recommended."""


@dataclass(frozen=True)
class HttpAnswer:
    """An HTTP response that was read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status tells of success."""
        return 200 <= self.status < 300

    def __repr__(self) -> str:
        return f"HttpAnswer(status={self.status}, {len(self.body)} bytes)"


@dataclass(frozen=True)
class Expected:
    """What the reader of an answer must know of its request.

    :param provider_name: whose request it was.
    :param sent_at: when it was sent, on the wall clock, in seconds since the epoch.
    :param scope: the scope asked for.
    :param secrets: what the request carried and no message may show.
    :param default_lifetime: seconds, for an answer without ``expires_in``.
    """

    provider_name: str
    sent_at: float
    scope: str | None = None
    secrets: Sequence[str] = ()
    default_lifetime: float = DEFAULT_LIFETIME_SECONDS

    def __repr__(self) -> str:
        return f"Expected(provider_name={self.provider_name!r})"
