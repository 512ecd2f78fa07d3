"""One exchange with a server: the response, and what its reader must know of the request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["DEFAULT_LIFETIME_SECONDS", "Expected", "HttpAnswer", "LateSecrets", "Target"]

DEFAULT_LIFETIME_SECONDS = 3600.0
"""The lifetime of a token if the server states none; ``expires_in`` is only recommended."""

_log = logging.getLogger("tokenkeeper.oauth")


class Target(NamedTuple):
    """The endpoint that a request is sent to, in the words of messages.

    :ivar endpoint: the endpoint.
    :ivar setting: what sets its URL.
    """

    endpoint: str = "token endpoint"
    setting: str = "token_url"


_TOKEN_ENDPOINT = Target()


# Neither frozen nor comparable: no code needs that, and creating the classes would take longer.


@dataclass(slots=True, eq=False, repr=False)
class HttpAnswer:
    """An HTTP response with its whole body. Header names are in lower case. Never changed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status means success."""
        return 200 <= self.status < 300

    def __repr__(self) -> str:
        return f"HttpAnswer(status={self.status}, {len(self.body)} bytes)"


class LateSecrets(Iterable[str]):
    """Texts that no message may show, collected when a message is about to be written.

    Encoding a secret in every way in which it might be shown takes longer than reading a response.

    :param collect: returns them.
    """

    __slots__ = ("_collect",)

    def __init__(self, collect: Callable[[], Iterable[str]]) -> None:
        self._collect = collect

    def __iter__(self) -> Iterator[str]:
        return iter(self._collect())


@dataclass(slots=True, eq=False, repr=False)
class Expected:
    """What the reader of a response must know of its request. Never changed.

    :param provider_name: the provider that made the request.
    :param sent_at: when it was sent, on the wall clock, in seconds since the epoch.
    :param scope: the requested scope.
    :param secrets: texts in the request that no message may show.
    :param default_lifetime: the lifetime in seconds if the response states none; an hour by
        default.
    :param lifetime_seconds: the lifetime in seconds whatever the response states; ``None``, the
        default, believes the response.
    :param never_expires: whether a lifetime of 0, a negative one, or none means that the token does
        not expire.
    :param accept_token_types: values of ``token_type``, in any case, that are accepted besides
        ``Bearer``.
    :param warned: the kinds of warnings logged so far. A provider passes the same set each time,
        so that each kind is logged once.
    :param omitted: receives the names of the members ``expires_in`` and ``scope`` that the response
        left out.
    :param grant: the ``grant_type`` of the request, which advice depends on.
    :param auth_advice: returns what to try if the server rejects the client, given the usual
        advice; by default that.
    :param with_proof: whether the request had a DPoP proof, so that the token is to be bound to its
        key (RFC 9449 §5); by default it had none.
    :param allow_bearer: whether a token that is not bound to the key is accepted all the same;
        ``False`` by default.
    :param target: where the request was sent; the token endpoint by default.
    """

    provider_name: str
    sent_at: float
    scope: str | None = None
    secrets: Iterable[str] = ()
    default_lifetime: float = DEFAULT_LIFETIME_SECONDS
    lifetime_seconds: float | None = None
    never_expires: bool = False
    accept_token_types: tuple[str, ...] = ()
    warned: set[str] = field(default_factory=set)
    omitted: set[str] = field(default_factory=set)
    grant: str | None = None
    auth_advice: Callable[[str], str] = str
    with_proof: bool = False
    allow_bearer: bool = False
    target: Target = _TOKEN_ENDPOINT

    def warn_once(self, kind: str, message: str) -> None:
        """Log *message* as a warning that names the provider, unless one of *kind* was logged."""
        if kind not in self.warned:
            self.warned.add(kind)
            _log.warning("provider %r: %s", self.provider_name, message)

    def __repr__(self) -> str:
        return f"Expected(provider_name={self.provider_name!r})"
