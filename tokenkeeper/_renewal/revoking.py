"""Revokes tokens, and forgets them: what ``revoke()`` does.

A refresh token that works once is revoked under the claim of its grant, so that no process is just
using it. All other tokens are revoked as they are: a server that doesn't know one any more says so
without harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, cast

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.grant_revocation import GrantRevocation, revoked_at_server
from tokenkeeper._support.arguments import check_name
from tokenkeeper.clock import utc
from tokenkeeper.events import TokenRevoked
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    StoreUnavailableError,
    TokenAcquisitionError,
)
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters, is_chosen
from tokenkeeper.oauth.revocation import Revocation, TokenKind
from tokenkeeper.oauth.server import NoEndpointError
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from tokenkeeper._renewal.coordinator import Coordinator
    from tokenkeeper._renewal.joining import Membership

__all__ = ["revoke"]

_KINDS = ("refresh_token", "access_token")


def revoke(
    coordinator: Coordinator,
    name: str,
    kind: TokenKind,
    *,
    account: str | None = None,
    forgets_anyway: bool = False,
) -> Revocation:
    """Revoke the grant of the token *name*, or its access token, and forget what it brought.

    :param kind: what to revoke; where there is no refresh token, the access token.
    :param account: the account whose grant it is, if *name* is a provider.
    :param forgets_anyway: whether to forget tokens although the server has no endpoint to revoke
        them at; by default that is an error, and nothing is forgotten.
    :raises InvalidConfigurationError: for an argument that can't work.
    :raises TokenAcquisitionError: if the server did not revoke it. Nothing is forgotten then.
    """
    provider = _provider_of(coordinator, name, account)
    if kind not in _KINDS:
        problem = f"token must be {_KINDS[0]!r} or {_KINDS[1]!r}"
        raise InvalidConfigurationError(problem, field="token")
    if kind == _KINDS[0] and not provider.repeatable:
        return _revoke_grant(coordinator, provider, forgets_anyway=forgets_anyway)
    return _revoke_token(coordinator, provider, kind, forgets_anyway=forgets_anyway)


def _provider_of(coordinator: Coordinator, name: str, account: str | None) -> BaseOAuth2Provider:
    """Return the provider of the token that is meant."""
    check_name(name)
    registry, parameters = coordinator.state.registry, None
    coordinator.state.check_provider(name)
    if account is not None:
        parameters = TokenParameters.of(account=account)
        name = str(TokenName.of(name, parameters))
    if is_chosen(name):
        return registry.variant(name, parameters).provider
    return registry.find(name)


# ---- a grant


def _revoke_grant(
    coordinator: Coordinator, provider: BaseOAuth2Provider, *, forgets_anyway: bool
) -> Revocation:
    """Revoke a refresh token that works once, and forget all that it brought."""
    # Such a grant is always in a store, if only in one in memory.
    membership = cast("Membership", coordinator.memberships.of(provider))
    base = coordinator.state.registry.find(provider.provider_name)
    with coordinator.state.lock:
        mine = coordinator.state.cache.tokens.get(provider.grant_name)
    grant = GrantRevocation(
        membership,
        provider,
        base,
        mine,
        clock=coordinator.runner.clock,
        closing=coordinator.background.closing,
    )
    was_asked = grant.revoke(forgets_anyway=forgets_anyway)
    name = provider.grant_name
    names = {name, provider.token_name, *_names_of_grant(coordinator, provider)}
    for each in names:
        membership.fleet.note_cleared(each)
    found = _forgotten_here(coordinator, names)
    stored = {} if grant.stored is None else {name: grant.stored}
    found = {**stored, **grant.forget_others(), **found}
    kind: TokenKind | None = "refresh_token" if was_asked or grant.had_token else None
    return _reported(coordinator, provider, name, kind, found.values(), was_asked=was_asked)


def _names_of_grant(coordinator: Coordinator, provider: BaseOAuth2Provider) -> list[str]:
    """Return the names of the tokens of a grant that this process has, or is requesting."""
    state, grant = coordinator.state, provider.grant_name
    with state.lock:
        known = state.registry.providers_of(state.tokens_of(provider.provider_name))
    return [name for name, each in known.items() if each.grant_name == grant]


# ---- one token


def _revoke_token(
    coordinator: Coordinator,
    provider: BaseOAuth2Provider,
    kind: TokenKind,
    *,
    forgets_anyway: bool,
) -> Revocation:
    """Revoke the token of *provider* in memory, and another one that the store may have."""
    name, membership = provider.token_name, coordinator.memberships.of(provider)
    now = coordinator.runner.clock.monotonic()
    revoked: TokenKind | None = None
    was_asked = False
    known = _known_tokens(coordinator, provider, membership)
    for each in known:
        has_both = kind == _KINDS[0] and each.token.refresh_token is not None
        if not has_both and now >= each.ends_at:
            continue
        what: TokenKind = "refresh_token" if has_both else "access_token"
        try:
            was_asked |= revoked_at_server(provider, each.token, what)
        except NoEndpointError:
            if not forgets_anyway:
                raise
        revoked = what
    _forgotten_here(coordinator, [name])
    if membership is not None:
        membership.forget(provider, name)
    found = [each.token for each in known]
    return _reported(
        coordinator,
        provider,
        name,
        revoked,
        found,
        was_asked=was_asked,
        keeps_refresh_token=not provider.repeatable,
    )


def _known_tokens(
    coordinator: Coordinator, provider: BaseOAuth2Provider, membership: Membership | None
) -> list[CachedToken]:
    """Return the tokens of *provider* in memory and in the store, if they are two.

    :raises TokenAcquisitionError: if there is none in memory, and the store can't be used.
    """
    name = provider.token_name
    with coordinator.state.lock:
        mine = coordinator.state.cache.tokens.get(name)
    held = [] if mine is None else [mine]
    if membership is None:
        return held
    fleet = membership.fleet
    try:
        view = fleet.read(name, fleet.key_of(provider, name))
    except StoreUnavailableError as error:
        if held:
            return held
        raise TokenAcquisitionError(
            f"provider {provider.provider_name!r}: nothing was revoked. {error}",
            provider_name=provider.provider_name,
            transient=True,
        ) from error
    stored = fleet.adopted(view, provider, None, sent=0)
    if stored is not None and all(stored.access_token != each.access_token for each in held):
        held.append(stored)
    return held


# ---- both


def _forgotten_here(coordinator: Coordinator, names: Iterable[str]) -> dict[str, OAuth2Token]:
    """Forget tokens of this process, and return them."""
    state, chosen = coordinator.state, list(names)
    with state.lock:
        tokens = state.cache.tokens
        found = {name: tokens[name].token for name in chosen if name in tokens}
        state.forget_tokens(chosen)
    state.notifier.deliver()
    return found


def _reported(
    coordinator: Coordinator,
    provider: BaseOAuth2Provider,
    name: str,
    kind: TokenKind | None,
    found: Collection[OAuth2Token],
    *,
    was_asked: bool,
    keeps_refresh_token: bool = False,
) -> Revocation:
    """Report a revocation, and return what became of the tokens."""
    state, now = coordinator.state, utc(coordinator.runner.clock)
    until: datetime | None = max(
        (each.expires_at for each in found if each.expires_at > now), default=None
    )
    if was_asked and kind is not None:
        event = TokenRevoked(
            provider.provider_name, now, kind=kind, forgotten=len(found), token_name=name
        )
        with state.lock:
            state.notifier.enqueue(event)
        state.notifier.deliver()
    return Revocation(
        provider.provider_name,
        kind,
        was_asked,
        len(found),
        until,
        keeps_refresh_token=keeps_refresh_token and kind is not None,
        token_name=name,
    )
