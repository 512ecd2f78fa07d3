"""What a keeper reports about itself: typed dictionaries, without a secret, ready for JSON."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

__all__ = ["Health", "ProviderHealth", "ReloadResult", "TokenInfo"]


class TokenInfo(TypedDict):
    """Diagnostics of one cached token: :meth:`TokenKeeper.get_cached_token_info`."""

    provider_name: str
    state: Literal["fresh", "renewing", "expired"]
    expires_at: str
    """ISO 8601, UTC."""
    remaining_seconds: float
    is_expired: bool
    """Whether the token is inside its buffer, or past it."""
    renews_in_seconds: float
    token_type: str
    scope: str | None
    renewals: int
    failures: int
    """Renewals that failed in a row since the last success."""
    last_error: str | None


class ProviderHealth(TypedDict):
    """The part of :class:`Health` that is about one provider."""

    status: Literal["ok", "degraded", "down", "idle"]
    state: Literal["fresh", "renewing", "expired"] | None
    remaining_seconds: float | None
    renews_in_seconds: float | None
    failures: int
    last_error: str | None
    last_failure_at: str | None
    """ISO 8601, UTC."""
    refused_by_api: NotRequired[int]
    """How many tokens in a row an API refused, while it refuses freshly granted ones."""


class Health(TypedDict):
    """Whether callers can be served: :meth:`TokenKeeper.health`."""

    status: Literal["ok", "degraded", "down", "closed"]
    """The worst of the providers'."""
    providers: dict[str, ProviderHealth]


class ReloadResult(TypedDict):
    """The names of the providers that :meth:`TokenKeeper.reload` took over."""

    added: list[str]
    changed: list[str]
    removed: list[str]
