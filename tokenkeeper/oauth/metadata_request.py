"""Requests the metadata of an issuer, wherever it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tokenkeeper._support.frozen import FrozenMapping
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.json_object import UnusableResponseError, read_object
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.server_metadata import ServerMetadata
from tokenkeeper.oauth.token_errors import retry_after
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.oauth.verdict import status_verdict
from tokenkeeper.oauth.well_known import well_known_urls

__all__ = ["MetadataFailure", "read_metadata", "request_metadata"]

FRESH_SECONDS = 3600.0
"""How long a document is used without another request."""

SHORTEST_FRESH_SECONDS = 300.0
"""The least of that, whatever ``max-age`` says."""

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?([0-9]{1,10})", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class MetadataFailure:
    """Why there is no metadata. Immutable, and names no provider: many may wait for it.

    :ivar problem: what is wrong, and what to do, in sentences without a secret.
    :ivar transient: whether the same request may succeed later.
    :ivar retry_after: how many seconds the server asked to wait.
    :ivar cause: the operating system's own error, if there was one.
    :ivar again_at: when the next request may be made, on the monotonic clock.
    """

    problem: str
    transient: bool = False
    status_code: int | None = None
    retry_after: float | None = None
    network_reason: str | None = None
    cause: BaseException | None = field(default=None, repr=False)
    again_at: float = 0.0

    def error(self, provider_name: str, now: float) -> TokenAcquisitionError:
        """Return an error for a caller to raise at the time *now*.

        If a retry may help, it says when, so that no retry is wasted on this failure.
        """
        wait = max(0.0, self.again_at - now) if self.transient else None
        error = TokenAcquisitionError(
            f"provider {provider_name!r}: {self.problem}",
            provider_name=provider_name,
            status_code=self.status_code,
            retry_after=wait,
            transient=self.transient,
            network_reason=self.network_reason,
        )
        error.__cause__ = self.cause
        return error


def request_metadata(
    issuer: str, transport: HttpTransport, clock: Clock, *, provider_name: str, seconds: float
) -> ServerMetadata | MetadataFailure:
    """Return the metadata of *issuer*, or why there is none.

    A server may answer at a place that it does not know with a web page, a redirect or the metadata
    of another issuer. So all places are tried before any of these is a failure.

    :param seconds: how long all requests together may take.
    """
    ends_at = clock.monotonic() + seconds
    misses: list[_Miss] = []
    for url in well_known_urls(issuer):
        left = ends_at - clock.monotonic()
        if left <= 0:
            problem = f"there was no answer within {seconds:g} s"
            return MetadataFailure(_failed(issuer, problem), True, network_reason="timeout")
        try:
            answer = transport.request(
                "GET",
                url,
                provider_name=provider_name,
                headers={"Accept": "application/json"},
                within=left,
            )
        except TokenAcquisitionError as error:
            return _unanswered(error, issuer, provider_name)
        result = _read(answer, issuer, url, clock)
        if isinstance(result, ServerMetadata):
            return result
        misses.append(result)
        if answer.status == 429:
            break
    return _most_telling(issuer, misses)


def read_metadata(
    issuer: str, answers: Iterable[tuple[str, HttpAnswer]], clock: Clock
) -> ServerMetadata | MetadataFailure:
    """Return the metadata of *issuer* that is one of *answers*, or else why none is.

    :param answers: what the server answered at each place; at least one.
    """
    results = [_read(answer, issuer, url, clock) for url, answer in answers]
    found = next((each for each in results if isinstance(each, ServerMetadata)), None)
    return found or _most_telling(issuer, [each for each in results if isinstance(each, _Miss)])


def _most_telling(issuer: str, misses: list[_Miss]) -> MetadataFailure:
    return max(misses, key=lambda each: each.rank).failure(issuer, misses)


@dataclass(frozen=True, slots=True, eq=False)
class _Miss:
    """A place without the metadata.

    :ivar rank: how much it says about the reason.
    """

    rank: int
    url: str
    problem: str
    status: int
    retry_after: float | None = None

    def failure(self, issuer: str, all_misses: list[_Miss]) -> MetadataFailure:
        """Return the failure, given what the other places answered."""
        if self.rank == _RANK_UNAVAILABLE:
            problem = f"{self.url} {self.problem}"
            advice = "If this persists, contact the server's operator."
            problem = f"{_failed(issuer, problem)} {advice}"
            return MetadataFailure(problem, True, self.status, self.retry_after)
        if self.rank == _RANK_OTHER_ISSUER:
            problem = f"the metadata at {self.url} {self.problem}"
            return MetadataFailure(problem, status_code=self.status)
        found = "; ".join(f"{each.url} {each.problem}" for each in all_misses)
        advice = "Check issuer, or set token_url in its place."
        return MetadataFailure(f"{_failed(issuer, found)} {advice}", status_code=self.status)


_RANK_NOTHING, _RANK_OTHER_ISSUER, _RANK_UNAVAILABLE = range(3)


def _read(answer: HttpAnswer, issuer: str, url: str, clock: Clock) -> ServerMetadata | _Miss:
    status = answer.status
    if status_verdict(status).transient and not answer.ok:
        wait = retry_after(answer.headers.get("retry-after"), clock.time())
        return _Miss(_RANK_UNAVAILABLE, url, f"answered HTTP {status}", status, wait)
    if not answer.ok:
        redirect = ", a redirect, which is not followed" if 300 <= status < 400 else ""
        return _Miss(_RANK_NOTHING, url, f"answered HTTP {status}{redirect}", status)
    try:
        content = read_object(answer)
    except UnusableResponseError as error:
        return _Miss(_RANK_NOTHING, url, f"answered with something that {error}", status)
    stated = content.get("issuer")
    if stated == issuer:
        fresh_until = clock.monotonic() + _fresh_seconds(answer.headers)
        return ServerMetadata(issuer, url, FrozenMapping(content), fresh_until)
    if stated is None:
        return _Miss(_RANK_NOTHING, url, "answered with JSON that states no issuer", status)
    problem = (
        f"is that of the issuer {sanitize(stated)!r}, not {issuer!r}. Set issuer exactly as the "
        "server spells it (RFC 8414 §3.3), if this is the server that you mean."
    )
    return _Miss(_RANK_OTHER_ISSUER, url, problem, status)


def _fresh_seconds(headers: Mapping[str, str]) -> float:
    """Return how long a document is used.

    A short ``max-age`` may announce that an endpoint moves. Not to cache at all, which many servers
    demand of browsers and proxies for every response, would double the requests.
    """
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    if found is None:
        return FRESH_SECONDS
    return min(FRESH_SECONDS, max(SHORTEST_FRESH_SECONDS, float(found[1])))


def _unanswered(error: TokenAcquisitionError, issuer: str, provider_name: str) -> MetadataFailure:
    problem = str(error).removeprefix(f"provider {provider_name!r}: ").removesuffix(".")
    return MetadataFailure(
        _failed(issuer, problem),
        error.transient,
        network_reason=error.network_reason,
        cause=error.__cause__,
    )


def _failed(issuer: str, problem: str) -> str:
    return f"the metadata of {issuer} could not be had: {problem}."
