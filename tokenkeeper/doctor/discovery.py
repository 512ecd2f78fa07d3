"""The metadata that names the token endpoint, and the way to that endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from tokenkeeper._support.checks import shown_url
from tokenkeeper._support.endpoints import origin_of
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Finding, Level, Report, Step, failure, ok, warning
from tokenkeeper.doctor.network import check_dns, check_proxy, check_tcp
from tokenkeeper.doctor.provider_facts import ProviderFacts
from tokenkeeper.doctor.tls import check_tls
from tokenkeeper.oauth.metadata_request import MetadataFailure, read_metadata
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.server_metadata import UnusableEndpointError

__all__ = ["check_discovery", "compare_lists"]

_BY_CERTIFICATE = ("tls_client_auth", "self_signed_tls_client_auth")


def check_discovery(examination: Examination, issuer: str) -> Report:
    """Find the token endpoint as the provider does, and examine the way to it."""
    facts = examination.facts
    nothing = {"url": None}
    if not examination.responses:
        problem = examination.unanswered or "there was no response"
        return Report(Step.METADATA, (failure(problem),), nothing)
    answers = [(each.url, each.answer) for each in examination.responses]
    found = read_metadata(issuer, answers, examination.clock)
    if isinstance(found, MetadataFailure):
        return Report(Step.METADATA, (failure(found.problem),), nothing)
    findings = [ok(f"at {found.url}, for the issuer {issuer}")]
    measured: dict[str, Any] = {"url": found.url, "issuer": issuer, "token_endpoint": None}
    try:
        endpoint = found.endpoint(
            "token_endpoint", with_certificate=facts.auth_method in _BY_CERTIFICATE
        )
    except UnusableEndpointError as error:
        findings.append(failure(f"the metadata {error}"))
        return Report(Step.METADATA, tuple(findings), measured)
    measured["token_endpoint"] = shown_url(endpoint)
    findings.append(ok(f"token endpoint {sanitize(shown_url(endpoint))}"))
    findings += compare_lists(facts, found.content)
    if origin_of(endpoint) != origin_of(issuer):
        findings += _way_to(endpoint, examination)
    return Report(Step.METADATA, tuple(findings), measured)


def _way_to(endpoint: str, examination: Examination) -> Iterator[Finding]:
    """Yield what is found on the way to *endpoint*, whose host was not examined yet."""
    facts = replace(examination.facts, url=endpoint)
    other = Examination(facts, examination.timeout, examination.clock)
    place = urlsplit(endpoint).netloc
    for check in (check_proxy, check_dns, check_tcp, check_tls):
        report = check(other)
        for each in report.findings:
            if each.level is not Level.SKIPPED:
                yield replace(each, text=f"{place}: {report.step.label}: {each.text}")
        if report.failed:
            return


def compare_lists(facts: ProviderFacts, content: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield whether the metadata *content* lists the provider's method and its grant."""
    yield from _compare_list(
        content,
        "token_endpoint_auth_methods_supported",
        facts.auth_method,
        "set token_endpoint_auth_method to a supported method",
    )
    yield from _compare_list(
        content, "grant_types_supported", facts.grant_type, "permit the grant type at the server"
    )


def _compare_list(
    content: Mapping[str, Any], key: str, wanted: str | None, advice: str
) -> Iterator[Finding]:
    """Yield whether the list *key* of the metadata contains *wanted*, if both are known."""
    listed = content.get(key)
    if wanted is None or not isinstance(listed, (list, tuple)):
        return
    if wanted in listed:
        yield ok(f"{wanted} is supported")
    else:
        names = sanitize(", ".join(map(str, listed))) or "nothing"
        yield warning(f"{wanted} is not supported: {key} lists {names}", advice)
