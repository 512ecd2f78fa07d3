"""The server's metadata (RFC 8414, OpenID Connect Discovery), and its clock on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

from tokenkeeper.doctor.examination import Fetched, Visit
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, skipped, warning
from tokenkeeper.doctor.json_body import as_json
from tokenkeeper.doctor.time_limit import within
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.error_body import read_error
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.oauth.verdict import judge

__all__ = ["SKEW_SECONDS", "look_at_clock", "look_at_metadata"]

SKEW_SECONDS = 30.0
"""From here on clocks differ by enough for a warning."""

_LONGEST_DATE = 100
_AGE = re.compile("[0-9]{1,10}")  # 2**31 stands for all that is more (RFC 9111 §1.2.2)


def look_at_clock(visit: Visit) -> Report:
    """Ask the server for its metadata, and compare the ``Date`` of its answer with our time."""
    began = visit.clock.monotonic()
    try:
        # The resolver, which the transport asks as well, knows no limit.
        within(visit.timeout, lambda: _ask(visit))
    except TimeoutError:
        visit.unanswered = f"no answer within {visit.timeout:g} s"
    except TokenAcquisitionError as unanswered:
        if visit.clock.monotonic() - began < visit.timeout:
            visit.unanswered = str(unanswered).removeprefix(f"provider {visit.subject.name!r}: ")
        else:  # ours, not one of the provider's
            visit.unanswered = f"no answer within {visit.timeout:g} s"
    skews = [skew for each in visit.fetched if (skew := _skew(each)) is not None]
    if not skews:
        why = "the server gave no answer" if visit.unanswered else "the server sends no Date"
        return Report(Step.CLOCK, (skipped(why),), {"skew_seconds": None})
    skew = skews[0]
    facts = {"skew_seconds": round(skew, 1)}
    if abs(skew) <= SKEW_SECONDS:
        finding = ok(f"within {max(1, round(abs(skew)))} s of the server's")
        return Report(Step.CLOCK, (finding,), facts)
    late = "behind" if skew > 0 else "ahead of"
    finding = warning(
        f"this machine's clock is {abs(skew):.0f} s {late} the server's",
        "set it (NTP). Tokens are safe, as their lives are counted on a clock of our own; "
        "signed assertions and whoever checks a JWT are not",
    )
    return Report(Step.CLOCK, (finding,), facts)


def look_at_metadata(visit: Visit) -> Report:
    """Compare what the server says of itself with what is configured."""
    needed = visit.subject.kind == "azure"  # msal goes by it; elsewhere it is a help, no more
    documents = [
        (each, said)
        for each in visit.fetched
        if (said := _content(each)) is not None and _is_meant(visit, each, said)
    ]
    if not documents and visit.unanswered is not None:
        finding = failure(visit.unanswered) if needed else note(visit.unanswered)
        return Report(Step.METADATA, (finding,), {"url": None})
    if not documents:
        return Report(Step.METADATA, (_none(visit, needed),), {"url": None})
    fetched, content = next(
        ((each, said) for each, said in documents if _names_our_endpoint(visit, said)),
        documents[0],
    )
    findings = [ok(f"at {fetched.url}"), *_judge(visit, fetched, content)]
    facts = {
        "url": fetched.url,
        "issuer": content.get("issuer"),
        "token_endpoint": content.get("token_endpoint"),
    }
    return Report(Step.METADATA, tuple(findings), facts)


def _ask(visit: Visit) -> None:
    """Fetch the places where the metadata may be, until one names our token endpoint."""
    ends_at = visit.clock.monotonic() + visit.timeout
    for url, issuer in visit.subject.metadata_urls:
        left = ends_at - visit.clock.monotonic()
        if left <= 0:
            return
        transport = HttpTransport(
            connect_timeout=left,
            read_timeout=left,
            total_timeout=left,
            verify=visit.subject.verify,
            clock=visit.clock,
        )
        before = visit.clock.time()
        answer = transport.request(
            "GET",
            url,
            provider_name=visit.subject.name,
            headers={"Accept": "application/json", "Cache-Control": "no-cache"},
        )
        fetched = Fetched(url, issuer, answer, (before + visit.clock.time()) / 2)
        visit.fetched.append(fetched)
        content = _content(fetched)
        if content is not None and _names_our_endpoint(visit, content):
            return


def _skew(fetched: Fetched) -> float | None:
    """Return by how much the server's clock is ahead of ours, in seconds.

    A ``Date`` is cut to whole seconds, so the middle of its second is meant. An answer from a
    cache says how old it is (RFC 9111 §5.1).
    """
    headers = fetched.answer.headers
    try:
        moment = parsedate_to_datetime(headers.get("date", "")[:_LONGEST_DATE])
        theirs = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() + 0.5
    except (ArithmeticError, LookupError, TypeError, ValueError):
        return None
    age = headers.get("age", "").strip()
    seconds = int(age) if _AGE.fullmatch(age) else 0  # what is longer is not an age
    return theirs + seconds - fetched.asked_at


def _content(fetched: Fetched) -> Mapping[str, Any] | None:
    """Return the metadata, if that is what the answer holds."""
    content = as_json(fetched.answer)
    if not fetched.answer.ok or not isinstance(content.get("token_endpoint"), str):
        return None
    return content


def _names_our_endpoint(visit: Visit, content: Mapping[str, Any]) -> bool:
    theirs = content["token_endpoint"].partition("?")[0]
    return visit.subject.kind == "azure" or theirs == visit.subject.shown_url


def _names_its_issuer(fetched: Fetched, content: Mapping[str, Any]) -> bool:
    return str(content.get("issuer")).rstrip("/") == fetched.issuer.rstrip("/")


def _is_meant(visit: Visit, fetched: Fetched, content: Mapping[str, Any]) -> bool:
    """Say whether a document that was guessed at is about our server.

    One that names neither our token endpoint nor the issuer that it was looked for under is about
    another server on the same host, and would give false alarms.
    """
    return _names_our_endpoint(visit, content) or _names_its_issuer(fetched, content)


def _none(visit: Visit, needed: bool) -> Finding:
    if not needed:
        return note("the server publishes none where it can be guessed; the token endpoint counts")
    (fetched,) = visit.fetched
    said = read_error(fetched.answer)
    words = f": {sanitize(said.words)}" if said.words else ""
    verdict = judge(said.codes, said.words, fetched.answer.status)
    advice = verdict.advice if verdict.code else "check authority and tenant_id"
    return failure(f"none at {fetched.url} (HTTP {fetched.answer.status}){words}", advice)


def _judge(visit: Visit, fetched: Fetched, content: Mapping[str, Any]) -> list[Finding]:
    subject = visit.subject
    findings = []
    theirs = sanitize(content["token_endpoint"].partition("?")[0])
    if _names_our_endpoint(visit, content):
        findings.append(ok(f"token endpoint {theirs}"))
    else:
        findings.append(
            warning(
                f"the token endpoint is {theirs}, and {subject.shown_url} is configured",
                "check token_url, unless the server is known to have both",
            )
        )
    if subject.kind != "azure" and not _names_its_issuer(fetched, content):
        findings.append(
            warning(
                f"the issuer calls itself {sanitize(content.get('issuer'))}, "
                f"and not {fetched.issuer}",
                "have its operator correct it: clients that go by RFC 8414 §3.3 refuse it",
            )
        )
    for key, wanted, advice in (
        (
            "token_endpoint_auth_methods_supported",
            subject.auth_method,
            "set token_endpoint_auth_method to one of them",
        ),
        (
            "grant_types_supported",
            subject.grant_type,
            "have the grant permitted at the server",
        ),
    ):
        listed = content.get(key)
        if wanted is None or not isinstance(listed, list):
            continue
        if wanted in listed:
            findings.append(ok(f"{wanted} is supported"))
        else:
            what = sanitize(", ".join(map(str, listed))) or "none"
            findings.append(warning(f"{wanted} is not among {key}: {what}", advice))
    return findings
