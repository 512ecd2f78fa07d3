"""The steps of an examination in their order; what depends on a failed one is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.doctor.examination import Visit
from tokenkeeper.doctor.findings import Report, Step, skipped
from tokenkeeper.doctor.metadata import look_at_clock, look_at_metadata
from tokenkeeper.doctor.network import look_at_dns, look_at_proxy, look_at_tcp
from tokenkeeper.doctor.targets import Patient
from tokenkeeper.doctor.tls import look_at_tls
from tokenkeeper.doctor.token_request import look_at_credentials, look_at_lifetime, look_at_scope

__all__ = ["examine"]

_LOOKS: dict[Step, Callable[[Visit], Report]] = {
    Step.PROXY: look_at_proxy,
    Step.DNS: look_at_dns,
    Step.TCP: look_at_tcp,
    Step.TLS: look_at_tls,
    Step.CLOCK: look_at_clock,
    Step.METADATA: look_at_metadata,
    Step.CREDENTIALS: look_at_credentials,
    Step.LIFETIME: look_at_lifetime,
    Step.SCOPE: look_at_scope,
}

_ON_THE_WAY = (Step.PROXY, Step.DNS, Step.TCP, Step.TLS, Step.CLOCK, Step.METADATA)
"""What only a provider whose server is known can be asked."""


def examine(patient: Patient, *, timeout: float, clock: Clock = SYSTEM_CLOCK) -> Iterator[Report]:
    """Yield what each step finds, as it is found. One token request is made, at the most.

    :param timeout: seconds for each step.
    """
    yield patient.variables
    subject = patient.subject
    if subject is None:
        yield from _skip_after(Step.VARIABLES)
        return
    visit = Visit(subject, timeout, clock)
    for step, look in _LOOKS.items():
        if subject.url is None and step in _ON_THE_WAY:
            yield Report(step, (skipped(f"{type(subject.provider).__name__} keeps it to itself"),))
            continue
        report = look(visit)
        yield report
        if report.failed:
            yield from _skip_after(step)
            return


def _skip_after(failed: Step) -> Iterator[Report]:
    """Yield the reports of the steps that could not be made, as *failed* did."""
    for step in Step:
        if step > failed:
            yield Report(step, (skipped(f"not tried, as {failed.label} failed"),))
