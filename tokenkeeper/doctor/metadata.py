"""The server's metadata (RFC 8414, OpenID Connect Discovery), and the server's clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from tokenkeeper.doctor.discovery import check_discovery, compare_lists
from tokenkeeper.doctor.examination import Examination, MetadataResponse
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, skipped, warning
from tokenkeeper.doctor.json_body import json_object
from tokenkeeper.doctor.time_limit import within
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.error_body import read_error
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.oauth.verdict import judge

__all__ = ["SKEW_SECONDS", "check_clock", "check_metadata"]

SKEW_SECONDS = 30.0
"""A larger difference between the clocks is a warning."""

_MAX_DATE_LENGTH = 100
_AGE = re.compile("[0-9]{1,10}")  # 2**31 is the largest (RFC 9111 §1.2.2)


def check_clock(examination: Examination) -> Report:
    """Request the server's metadata, and compare the ``Date`` of the response with our time."""
    clock, timeout = examination.clock, examination.timeout
    began = clock.monotonic()
    try:
        # The transport limits the request, but not the name resolver.
        within(timeout, lambda: _request_metadata(examination))
    except TimeoutError:
        examination.unanswered = f"no response within {timeout:g} s"
    except TokenAcquisitionError as error:
        if clock.monotonic() - began < timeout:
            prefix = f"provider {examination.facts.name!r}: "
            examination.unanswered = str(error).removeprefix(prefix)
        else:  # the timeout of the step, which the error calls by the name of a setting
            examination.unanswered = f"no response within {timeout:g} s"
    skews = [skew for each in examination.responses if (skew := _skew(each)) is not None]
    if not skews:
        no_answer = examination.unanswered is not None
        why = "the server did not respond" if no_answer else "the server sends no Date header"
        return Report(Step.CLOCK, (skipped(why),), {"skew_seconds": None})
    skew = skews[0]
    measured = {"skew_seconds": round(skew, 1)}
    if abs(skew) <= SKEW_SECONDS:
        finding = ok(f"within {max(1, round(abs(skew)))} s of the server's")
        return Report(Step.CLOCK, (finding,), measured)
    position = "behind" if skew > 0 else "ahead of"
    finding = warning(
        f"this machine's clock is {abs(skew):.0f} s {position} the server's",
        "set this machine's clock (NTP). Cached tokens are not affected, as a monotonic clock "
        "measures their lifetime; signed assertions and the validation of JWTs are",
    )
    return Report(Step.CLOCK, (finding,), measured)


def check_metadata(examination: Examination) -> Report:
    """Compare the server's metadata with the configuration."""
    if examination.facts.issuer is not None:
        return check_discovery(examination, examination.facts.issuer)
    required = examination.facts.kind == "azure"  # msal needs it; elsewhere it is optional
    documents = [
        (each, content)
        for each in examination.responses
        if (content := _metadata(each)) is not None and _is_relevant(examination, each, content)
    ]
    if not documents and examination.unanswered is not None:
        problem = examination.unanswered
        finding = failure(problem) if required else note(problem)
        return Report(Step.METADATA, (finding,), {"url": None})
    if not documents:
        return Report(Step.METADATA, (_not_found(examination, required),), {"url": None})
    response, content = next(
        ((each, content) for each, content in documents if _names_endpoint(examination, content)),
        documents[0],
    )
    findings = [ok(f"at {response.url}"), *_compare(examination, response, content)]
    measured = {
        "url": response.url,
        "issuer": content.get("issuer"),
        "token_endpoint": content.get("token_endpoint"),
    }
    return Report(Step.METADATA, tuple(findings), measured)


def _request_metadata(examination: Examination) -> None:
    """Request each place where the metadata may be, until it is found."""
    clock, facts = examination.clock, examination.facts
    ends_at = clock.monotonic() + examination.timeout
    for url, issuer in facts.metadata_urls:
        left = ends_at - clock.monotonic()
        if left <= 0:
            return
        transport = HttpTransport(
            connect_timeout=left,
            read_timeout=left,
            total_timeout=left,
            verify=facts.verify,
            clock=clock,
        )
        before = clock.time()
        answer = transport.request(
            "GET",
            url,
            provider_name=facts.name,
            certificate=examination.certificate,
            headers={"Accept": "application/json", "Cache-Control": "no-cache"},
        )
        response = MetadataResponse(url, issuer, answer, (before + clock.time()) / 2)
        examination.responses.append(response)
        if _is_found(examination, response):
            return


def _is_found(examination: Examination, response: MetadataResponse) -> bool:
    """Return whether *response* is the issuer's metadata, or names our token endpoint."""
    if examination.facts.issuer is not None:
        return json_object(response.answer).get("issuer") == examination.facts.issuer
    content = _metadata(response)
    return content is not None and _names_endpoint(examination, content)


def _skew(response: MetadataResponse) -> float | None:
    """Return how many seconds the server's clock is ahead of ours.

    A ``Date`` is truncated to whole seconds, so the middle of its second is the best estimate. A
    response from a cache has an ``Age`` (RFC 9111 §5.1).
    """
    headers = response.answer.headers
    try:
        moment = parsedate_to_datetime(headers.get("date", "")[:_MAX_DATE_LENGTH])
        theirs = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() + 0.5
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    age = headers.get("age", "").strip()
    seconds = int(age) if _AGE.fullmatch(age) else 0
    return theirs + seconds - response.asked_at


def _metadata(response: MetadataResponse) -> Mapping[str, Any] | None:
    """Return the metadata in the body, if there is any."""
    content = json_object(response.answer)
    if not response.answer.ok or not isinstance(content.get("token_endpoint"), str):
        return None
    return content


def _names_endpoint(examination: Examination, content: Mapping[str, Any]) -> bool:
    theirs = content["token_endpoint"].partition("?")[0]
    return examination.facts.kind == "azure" or theirs == examination.facts.shown_url


def _names_its_issuer(response: MetadataResponse, content: Mapping[str, Any]) -> bool:
    return str(content.get("issuer")).rstrip("/") == response.issuer.rstrip("/")


def _is_relevant(
    examination: Examination, response: MetadataResponse, content: Mapping[str, Any]
) -> bool:
    """Return whether a document, whose URL may have been guessed, describes our server.

    A document that names neither our token endpoint nor the issuer of its URL describes another
    server on the same host, and would cause false warnings.
    """
    return _names_endpoint(examination, content) or _names_its_issuer(response, content)


def _not_found(examination: Examination, required: bool) -> Finding:
    if not required:
        return note("none found; the token endpoint works without it")
    (response,) = examination.responses
    status = response.answer.status
    error = read_error(response.answer)
    words = f": {sanitize(error.words)}" if error.words else ""
    verdict = judge(error.codes, error.words, status)
    advice = verdict.advice if verdict.code else "check authority and tenant_id"
    return failure(f"none at {response.url} (HTTP {status}){words}", advice)


def _compare(
    examination: Examination, response: MetadataResponse, content: Mapping[str, Any]
) -> Iterator[Finding]:
    facts = examination.facts
    theirs = sanitize(content["token_endpoint"].partition("?")[0])
    if _names_endpoint(examination, content):
        yield ok(f"token endpoint {theirs}")
    else:
        yield warning(
            f"the token endpoint in the metadata is {theirs}, the configured one {facts.shown_url}",
            "check token_url, unless the server is known to have both",
        )
    if facts.kind != "azure" and not _names_its_issuer(response, content):
        yield warning(
            f"the issuer in the metadata is {sanitize(content.get('issuer'))}, "
            f"not {response.issuer}",
            "ask the server's operator to correct it: clients that follow RFC 8414 §3.3 reject it",
        )
    yield from compare_lists(facts, content)
