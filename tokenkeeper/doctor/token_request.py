"""One real token request, and the lifetime and scope of the token that it returns."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from tokenkeeper._renewal.attempt import request_token
from tokenkeeper._runtime import provider_loop
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, warning
from tokenkeeper.doctor.time_limit import within
from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.schedule import deadlines

__all__ = ["ENOUGH_SECONDS", "check_credentials", "check_lifetime", "check_scope"]

ENOUGH_SECONDS = 30.0
"""The time a renewal should have: one request that hangs takes as long (``total_timeout``)."""


def check_credentials(examination: Examination) -> Report:
    """Request a token, once: retries with a wrong secret could lock the account."""
    provider, clock = examination.facts.provider, examination.clock
    name = type(provider).__name__

    def ask() -> tuple[OAuth2Token, float, float]:
        began = clock.monotonic()
        cached = request_token(provider, None, sent=0, clock=clock, jitter=lambda: 0.0)
        return cached.token, clock.monotonic() - began, cached.ends_at - began

    try:
        token, took, lifetime = within(examination.timeout, ask)
    except OAuth2Error as error:
        problem = str(error).removeprefix(f"provider {provider.provider_name!r}: ")
        return Report(Step.CREDENTIALS, (failure(problem),), _facts(error))
    except TimeoutError:
        finding = failure(
            f"no response to the token request within {examination.timeout:g} s",
            "check whether the server is overloaded, or allow more time with --timeout",
        )
        return Report(Step.CREDENTIALS, (finding,))
    except Exception as error:  # noqa: BLE001 - a custom provider may raise anything
        # The text of the error may contain a secret.
        finding = failure(
            f"{name} raised {type(error).__name__}",
            f"fix {name}; its acquire_token should raise TokenAcquisitionError",
        )
        return Report(Step.CREDENTIALS, (finding,))
    finally:
        _close(examination)
    examination.token = token
    # Servers count whole seconds, and their clock starts a moment after ours.
    examination.lifetime = float(math.floor(lifetime + 0.1))
    return Report(
        Step.CREDENTIALS,
        (ok(f"accepted: a {token.token_type} token after {took:.2f} s"),),
        {"token_type": token.token_type, "took_seconds": round(took, 3)},
    )


def _close(examination: Examination) -> None:
    """Close a custom provider, which was made for this examination only."""
    provider = examination.facts.provider
    if examination.facts.kind == "custom":
        with suppress(Exception):  # an error of close() does not affect tokens
            within(examination.timeout, lambda: provider_loop.call(provider.close))


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


def check_lifetime(examination: Examination) -> Report:
    """Report when the token is renewed, and warn if that leaves little time."""
    lifetime, buffer = examination.lifetime, examination.facts.provider.buffer_seconds
    times = deadlines(0.0, lifetime, buffer, 0.0)
    slack = times.dead_at - times.renew_at
    measured = {
        "lifetime_seconds": lifetime,
        "buffer_seconds": buffer,
        "renewed_after_seconds": round(times.renew_at, 1),
        "renewal_seconds": round(slack, 1),
    }
    text = f"{lifetime:.0f} s; renewed after {times.renew_at:.0f} s"
    if _is_assumed(examination):
        finding = warning(
            f"{text}. This lifetime is assumed: the server sends no expires_in",
            "ask the server's operator how long tokens live, and set default_lifetime_seconds "
            "to that",
        )
        return Report(Step.LIFETIME, (finding,), measured | {"assumed": True})
    if lifetime <= buffer:
        shrunk = times.ends_at - times.stale_at
        text += f" (the buffer of {buffer:g} s shrinks to {shrunk:.0f} s)"
    if slack >= ENOUGH_SECONDS:
        return Report(Step.LIFETIME, (ok(text),), measured)
    finding = warning(
        f"{text}. A renewal has {slack:.0f} s, and callers wait during any longer outage",
        "configure a longer token lifetime at the server",
    )
    return Report(Step.LIFETIME, (finding,), measured)


def _is_assumed(examination: Examination) -> bool:
    """Return whether the server sent no lifetime, in ``expires_in`` or in another member."""
    assumed = examination.facts.default_lifetime
    if assumed is None or abs(examination.lifetime - assumed) > 1:
        return False
    return "expires_in" in examination.facts.omitted()


def check_scope(examination: Examination) -> Report:
    """Compare the scope that was granted with the scope that was requested."""
    asked = (examination.facts.scope or "").split()
    token = examination.token
    granted = (token.scope or "").split() if token else []
    missing = [each for each in asked if each not in granted]
    more = [each for each in granted if each not in asked]
    measured: dict[str, Any] = {"asked": asked, "granted": granted}
    findings: list[Finding] = []
    if missing:
        findings.append(
            failure(
                f"not granted: {' '.join(missing)} (requested: {' '.join(asked)})",
                "permit these scopes for the client at the server, or request fewer",
            )
        )
    elif asked and "scope" in examination.facts.omitted():
        measured["assumed"] = True
        findings.append(
            note(
                f"assumed to be granted: {' '.join(asked)}. The server names no scope, which "
                "means the one that was requested (RFC 6749 §5.1)"
            )
        )
    elif asked:
        findings.append(ok(f"all granted: {' '.join(asked)}"))
    elif not granted:
        findings.append(ok("none requested, and none named by the server"))
    if more:
        extra = "granted in addition" if asked else "granted without a request"
        findings.append(note(f"{extra}: {' '.join(more)}"))
    return Report(Step.SCOPE, tuple(findings), measured)
