"""One real token request, and what came of it."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from tokenkeeper._renewal.attempt import request_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._runtime import provider_loop
from tokenkeeper.doctor.bounded import within
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, warning
from tokenkeeper.doctor.visit import Visit
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError
from tokenkeeper.schedule import deadlines

__all__ = ["ENOUGH_SECONDS", "look_at_credentials", "look_at_lifetime", "look_at_scope"]

ENOUGH_SECONDS = 30.0
"""What a renewal should have: as much as one request takes that hangs (``total_timeout``)."""


def look_at_credentials(visit: Visit) -> Report:
    """Have the provider ask for a token, once: a wrong secret must not lock an account."""
    provider, clock = visit.subject.provider, visit.clock

    def ask() -> tuple[CachedToken, float]:
        began = clock.monotonic()
        return request_token(provider, None, sent=0, clock=clock, jitter=lambda: 0.0), began

    try:
        visit.held, began = within(visit.timeout, ask)
    except OAuth2Error as error:
        problem = str(error).removeprefix(f"provider {provider.provider_name!r}: ")
        return Report(Step.CREDENTIALS, (failure(problem),), _facts(error))
    except TimeoutError:
        finding = failure(
            f"no answer to the token request within {visit.timeout:g} s",
            "look at the server; or allow more by --timeout",
        )
        return Report(Step.CREDENTIALS, (finding,))
    except Exception as error:  # noqa: BLE001 - a provider of somebody's own may raise anything
        # Its text may hold a secret.
        finding = failure(f"{type(provider).__name__} raised {type(error).__name__}", "mend it")
        return Report(Step.CREDENTIALS, (finding,))
    finally:
        _close(visit)
    took = clock.monotonic() - began
    # Servers count in whole seconds, and between ours and theirs a few moments have passed.
    visit.lifetime = float(math.floor(visit.held.ends_at - began + 0.1))
    return Report(
        Step.CREDENTIALS,
        (ok(f"accepted: a {visit.held.token.token_type} token after {took:.2f} s"),),
        {"token_type": visit.held.token.token_type, "took_seconds": round(took, 3)},
    )


def _close(visit: Visit) -> None:
    """Close a provider of somebody's own, which nobody else has and nobody asks again."""
    if visit.subject.kind == "custom":
        with suppress(Exception):  # what it raises says nothing of its tokens
            within(visit.timeout, lambda: provider_loop.call(visit.subject.provider.close))


def _facts(error: OAuth2Error) -> dict[str, Any]:
    if not isinstance(error, TokenAcquisitionError):
        return {}
    return {
        "error": error.error,
        "error_description": error.error_description,
        "status_code": error.status_code,
        "transient": error.transient,
        "network_reason": error.network_reason,
    }


def look_at_lifetime(visit: Visit) -> Report:
    """Tell when the token is renewed, and warn if there is little time for that."""
    lifetime, buffer = visit.lifetime, visit.subject.provider.buffer_seconds
    times = deadlines(0.0, lifetime, buffer, 0.0)
    facts = {
        "lifetime_seconds": lifetime,
        "buffer_seconds": buffer,
        "renewed_after_seconds": round(times.renew_at, 1),
    }
    slack = times.dead_at - times.renew_at
    facts["renewal_seconds"] = round(slack, 1)
    text = f"{lifetime:.0f} s; renewed after {times.renew_at:.0f} s"
    assumed = visit.subject.assumed_lifetime
    is_assumed = assumed is not None and abs(lifetime - assumed) <= 1  # no other member said it
    if "expires_in" in visit.subject.unsaid and is_assumed:
        finding = warning(
            f"{text}: that is assumed, as the server does not say (it sends no expires_in)",
            "ask its operator how long tokens live, and set default_lifetime_seconds to that",
        )
        return Report(Step.LIFETIME, (finding,), facts | {"assumed": True})
    if lifetime <= buffer:
        shrunk = times.ends_at - times.stale_at
        text += f" (the buffer of {buffer:g} s shrinks to {shrunk:.0f} s)"
    if slack >= ENOUGH_SECONDS:
        return Report(Step.LIFETIME, (ok(text),), facts)
    finding = warning(
        f"{text}: a renewal has {slack:.0f} s, and callers wait in any outage that is longer",
        "have the server grant longer lives",
    )
    return Report(Step.LIFETIME, (finding,), facts)


def look_at_scope(visit: Visit) -> Report:
    """Compare what was granted with what was asked for."""
    asked = (visit.subject.scope or "").split()
    token = visit.held.token if visit.held else None
    granted = (token.scope or "").split() if token else []
    missing = [each for each in asked if each not in granted]
    more = [each for each in granted if each not in asked]
    facts: dict[str, Any] = {"asked": asked, "granted": granted}
    findings: list[Finding] = []
    if missing:
        findings.append(
            failure(
                f"asked for {' '.join(asked)}, and not granted: {' '.join(missing)}",
                "have the client permitted at the server, or ask for less",
            )
        )
    elif asked and "scope" in visit.subject.unsaid:
        facts["assumed"] = True
        findings.append(
            note(
                f"assumed, not granted by name: {' '.join(asked)} (the server names no scope, "
                "which stands for what was asked for, RFC 6749 §5.1)"
            )
        )
    elif asked:
        findings.append(ok(f"all granted: {' '.join(asked)}"))
    elif not granted:
        findings.append(ok("none asked for, and none named by the server"))
    if more:
        findings.append(note(f"granted {'beyond that' if asked else 'unasked'}: {' '.join(more)}"))
    return Report(Step.SCOPE, tuple(findings), facts)
