"""Diagnostics of the tokens of a keeper: what may be shown of them, without a secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tokenkeeper._renewal.cache import TokenCache
from tokenkeeper.clock import Clock, utc
from tokenkeeper.models import Health, HealthStatus, ProviderHealth, TokenHealth, TokenInfo
from tokenkeeper.names import is_for_customer, provider_of

__all__ = ["describe", "health"]


def describe(cache: TokenCache, name: str, clock: Clock) -> TokenInfo | None:
    """Return diagnostics of the token *name*; ``None`` if there is none."""
    cached = cache.tokens.get(name)
    if cached is None:
        return None
    now, streak = cached.snapshot(clock), cache.streaks.get(name)
    return {
        "provider_name": provider_of(name),
        "token_name": name,
        "state": now.state,
        "expires_at": now.expires_at,
        "remaining_seconds": now.remaining_seconds,
        "is_expired": now.is_expired,
        "renews_in_seconds": now.renews_in_seconds,
        "token_type": cached.token.token_type,
        "scope": cached.token.scope,
        "renewals": cached.renewals,
        "generation": cached.generation,
        "granted_to": cached.granted_to or None,
        "failures": 0 if streak is None else streak.failures,
        "last_error": None if streak is None else streak.error,
    }


def health(cache: TokenCache, provider_names: Iterable[str], clock: Clock) -> Health:
    """Return whether callers of the providers *provider_names* can be served."""
    chosen: dict[str, dict[str, TokenHealth]] = {}
    for name in cache.usage.chosen():
        chosen.setdefault(provider_of(name), {})[name] = _of_token(cache, name, clock)
    providers: dict[str, ProviderHealth] = {}
    for name in provider_names:
        own = _of_token(cache, name, clock)
        tokens = chosen.get(name)
        if tokens is None:
            providers[name] = cast("ProviderHealth", own)
        else:
            status = _together([own["status"], *map(_weighed, tokens, tokens.values())])
            providers[name] = {**own, "status": status, "tokens": tokens}
    found = {each["status"] for each in providers.values()}
    if "down" in found:
        return {"status": "down", "providers": providers}
    return {"status": "degraded" if "degraded" in found else "ok", "providers": providers}


def _together(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """Return the status of a provider whose tokens have *statuses*.

    While one token can be had, the provider is not down.
    """
    requested = set(statuses) - {"idle"}
    if not requested:
        return "idle"
    if len(requested) == 1:
        return requested.pop()
    return "degraded"


def _weighed(name: str, token: TokenHealth) -> HealthStatus:
    """Return what the token *name* contributes to the status of its provider.

    A customer who withdrew consent must not take a service out of its load balancer, even if no
    other one asked yet.
    """
    is_minor = token["status"] == "down" and is_for_customer(name)
    return "degraded" if is_minor else token["status"]


def _of_token(cache: TokenCache, name: str, clock: Clock) -> TokenHealth:
    cached, streak = cache.tokens.get(name), cache.streaks.get(name)
    now = None if cached is None else cached.snapshot(clock)
    rejecting = cache.rejections.is_rejecting(name)
    found: TokenHealth = {
        "status": "idle" if streak is None else "down",
        "state": None if now is None else now.state,
        "remaining_seconds": None if now is None else now.remaining_seconds,
        "renews_in_seconds": None if now is None else now.renews_in_seconds,
        "failures": 0 if streak is None else streak.failures,
        "last_error": None if streak is None else streak.error,
        "last_failure_at": None,
    }
    if now is not None and now.state != "expired":
        found["status"] = "ok" if streak is None and not rejecting else "degraded"
    if streak is not None:
        ago = streak.at - clock.monotonic()
        found["last_failure_at"] = utc(clock, ago).isoformat()
    if rejecting:
        found["refused_by_api"] = cache.rejections.tokens(name)
        if streak is None:
            found["last_error"] = str(cache.rejections.error(name))
    return found
