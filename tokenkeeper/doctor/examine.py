"""The steps of an examination in their order. Steps that depend on a failed one are skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.doctor.credentials import check_files
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Report, Step, skipped
from tokenkeeper.doctor.metadata import check_clock, check_metadata
from tokenkeeper.doctor.network import check_dns, check_proxy, check_tcp
from tokenkeeper.doctor.sign_in import check_sign_in
from tokenkeeper.doctor.targets import Target
from tokenkeeper.doctor.tls import check_tls
from tokenkeeper.doctor.token_request import check_credentials, check_lifetime, check_scope
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["examine"]

_CHECKS: dict[Step, Callable[[Examination], Report]] = {
    Step.CREDENTIAL_FILES: check_files,
    Step.PROXY: check_proxy,
    Step.DNS: check_dns,
    Step.TCP: check_tcp,
    Step.TLS: check_tls,
    Step.CLOCK: check_clock,
    Step.METADATA: check_metadata,
    Step.CREDENTIALS: check_credentials,
    Step.LIFETIME: check_lifetime,
    Step.SCOPE: check_scope,
}

_NEED_URL = (Step.PROXY, Step.DNS, Step.TCP, Step.TLS, Step.CLOCK, Step.METADATA)
"""The steps that need the URL of the server."""

_NEED_TOKEN = (Step.CREDENTIALS, Step.LIFETIME, Step.SCOPE)
"""The steps that request a token, and examine it."""


def examine(
    target: Target,
    *,
    timeout: float,
    clock: Clock = SYSTEM_CLOCK,
    store: StoreSettings | None = None,
) -> Iterator[Report]:
    """Yield the report of each step as soon as it is made. Makes at most one token request.

    :param timeout: seconds for each step.
    :param store: the store of the configuration; ``None`` without one.
    """
    yield target.variables
    facts = target.facts
    if facts is None:
        yield from _skip_after(Step.VARIABLES)
        yield _not_tried(Step.SIGN_IN, Step.VARIABLES)
        return
    examination = Examination(facts, timeout, clock, store=store)
    for step, check in _CHECKS.items():
        if facts.url is None and step in _NEED_URL:
            name = type(facts.provider).__name__
            yield Report(step, (skipped(f"{name}.describe() names no token_url"),))
            continue
        if step in _NEED_TOKEN and not facts.provider.repeatable:
            yield Report(step, (skipped("not tried, as the refresh token works once"),))
            continue
        report = check(examination)
        yield report
        if report.failed:
            yield from _skip_after(step)
            break
    yield check_sign_in(examination)  # it needs neither the network nor a token


def _skip_after(failed: Step) -> Iterator[Report]:
    """Yield a report for each step after *failed* that depends on it. They were not tried."""
    for step in Step:
        if failed < step < Step.SIGN_IN:
            yield _not_tried(step, failed)


def _not_tried(step: Step, failed: Step) -> Report:
    return Report(step, (skipped(f"not tried, as {failed.label} failed"),))
