"""What a fleet learns of a request that failed, and for how long it spares others a request."""

from __future__ import annotations

from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.view import View
from tokenkeeper.exceptions import (
    AuthorizationRequiredError,
    TokenAcquisitionError,
    authorization_required,
)
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.retry import RetryPolicy, as_oauth2_error, is_interruption, is_transient
from tokenkeeper.stores.base import Claim
from tokenkeeper.stores.contents import StoredFailure

__all__ = ["FOREVER_SECONDS", "explained", "failure_of", "is_lost", "stands_for_seconds"]

LONGEST_PAUSE_SECONDS = 5.0
"""How long a transient failure spares the whole fleet a request at most."""

FOREVER_SECONDS = 10 * 365 * 86400.0
"""How long a refresh token that was refused stays refused: until a new one is stored."""


def failure_of(
    error: BaseException,
    renewal: Renewal,
    view: View,
    *,
    place: str,
    policy: RetryPolicy,
    cooldown_seconds: float,
) -> StoredFailure | None:
    """Return what other processes need to know of *error*; ``None`` if nothing.

    :param view: the record as it was claimed, with the failure before this one.
    :param place: the process that made the request.
    :param cooldown_seconds: for how long a final refusal spares the fleet a request.
    """
    if isinstance(error, LookAgain) or not isinstance(error, Exception) or is_interruption(error):
        return None  # no request was made, or the host stopped this thread
    known = as_oauth2_error(error, renewal.provider.provider_name)
    if not isinstance(known, TokenAcquisitionError) or is_interruption(known.__cause__):
        return None
    if isinstance(known, AuthorizationRequiredError) and not is_lost(known, renewal):
        return None  # no request was made
    failures = 1 + (0 if view.failure is None else view.failure.failures)
    return StoredFailure.of(
        known,
        token_name=renewal.token_name,
        stands_seconds=_stands_seconds(known, renewal, failures, policy, cooldown_seconds),
        failures=failures,
        reported_by=place,
    )


def _stands_seconds(
    error: TokenAcquisitionError,
    renewal: Renewal,
    failures: int,
    policy: RetryPolicy,
    cooldown_seconds: float,
) -> float:
    asked = policy.retry_after_seconds(error)
    if is_transient(error):
        growing = policy.initial_wait_seconds * 2.0 ** min(failures - 1, 30)
        return max(asked, min(growing, LONGEST_PAUSE_SECONDS))
    if is_lost(error, renewal):
        return FOREVER_SECONDS
    return max(asked, cooldown_seconds)


def is_lost(error: TokenAcquisitionError, renewal: Renewal) -> bool:
    """Return whether *error* means that the only refresh token is no longer accepted."""
    return not renewal.provider.repeatable and error.error == "invalid_grant"


def explained(
    error: TokenAcquisitionError, renewal: Renewal, claim: Claim
) -> TokenAcquisitionError:
    """Return *error*; if a refresh token is lost, with the reason, as far as it is known."""
    if not is_lost(error, renewal):
        return error
    why = "The refresh token is no longer accepted, so a new sign-in is needed."
    if claim.taken_from:
        before = claim.taken_intent.partition(" ")[0] or "another process"
        why += (
            f" {before} was about to use it and never stored the next one: it was killed in the "
            "middle of the request, or lost its connection. The store's setting detached: true "
            "prevents that."
        )
    return authorization_required(error, why)


def stands_for_seconds(view: View, renewal: Renewal, place: str) -> float:
    """Return for how long the failure in *view* still spares *renewal* a request; 0 if it doesn't.

    :param place: this process.
    """
    failure, age = view.failure, view.failure_age_seconds
    if failure is None:
        return 0.0
    if failure.stands_seconds >= FOREVER_SECONDS:
        return FOREVER_SECONDS
    if failure.reported_by == place and failure.transient and failure.failures == 1:
        return 0.0  # a single failure: the retry policy decides when this process asks again
    ignores_older = renewal.is_forced or renewal.is_reconsidered
    if ignores_older and view.read_at - age < renewal.began_at:
        return 0.0
    return max(0.0, failure.stands_seconds - age)
