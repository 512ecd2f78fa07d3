"""One exchange with a server: the answer, and what its reader must know of the request."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["DEFAULT_LIFETIME_SECONDS", "Expected", "HttpAnswer"]

DEFAULT_LIFETIME_SECONDS = 3600.0
"""How long a token lives whose server does not say; ``expires_in`` is only recommended."""

_log = logging.getLogger("tokenkeeper.oauth")


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
    :param default_lifetime: seconds, for an answer that does not say how long the token lives.
    :param lifetime_seconds: how long every token lives, whatever the answer says; ``None``, the
        default, believes the answer.
    :param never_expires: whether a lifetime of 0 or less, or none, means that the token does not
        expire.
    :param accept_token_types: values of ``token_type``, in any case, that are taken beside
        ``Bearer``.
    :param warned: the kinds of warnings given so far. A provider passes the same set each time,
        so that each kind is logged once.
    :param omitted: receives the names of the members ``expires_in`` and ``scope`` that the answer
        left out.
    :param grant: the grant in use, by its ``grant_type``: advice depends on it.
    :param auth_advice: what to try where the server refuses the client, in a sentence; "" if its
        method of authentication leaves no doubt.
    """

    provider_name: str
    sent_at: float
    scope: str | None = None
    secrets: Sequence[str] = ()
    default_lifetime: float = DEFAULT_LIFETIME_SECONDS
    lifetime_seconds: float | None = None
    never_expires: bool = False
    accept_token_types: tuple[str, ...] = ()
    warned: set[str] = field(default_factory=set, compare=False)
    omitted: set[str] = field(default_factory=set, compare=False)
    grant: str | None = None
    auth_advice: str = ""

    def warn_once(self, kind: str, message: str) -> None:
        """Log *message* as a warning that names the provider, unless one of *kind* was logged."""
        if kind not in self.warned:
            self.warned.add(kind)
            _log.warning("provider %r: %s", self.provider_name, message)

    def __repr__(self) -> str:
        return f"Expected(provider_name={self.provider_name!r})"
