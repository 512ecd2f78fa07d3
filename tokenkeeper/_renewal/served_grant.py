"""Serves what a sign-in brought, in place of what there was before."""

from __future__ import annotations

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.coordinator import Coordinator
from tokenkeeper._renewal.need import Variant
from tokenkeeper.names import is_chosen
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["serve_new_grant"]


def serve_new_grant(
    coordinator: Coordinator, provider: BaseOAuth2Provider, token: CachedToken
) -> None:
    """Serve *token* from now on; forget the tokens of the grant before, and what failed.

    They may be another person's, also those of single resources.
    """
    state, name, grant_name = coordinator.state, provider.token_name, provider.grant_name
    background = coordinator.background
    with state.lock:
        # 1. What this process has of the grant: all tokens that its refresh token brings.
        base = state.registry.find(name)
        known = state.registry.providers_of(state.tokens_of(provider.provider_name))
        of_grant = {each: known[each] for each in known if known[each].grant_name == grant_name}
        state.forget_tokens(list(of_grant))
        # 2. The token, as if a caller had asked for it.
        token = state.cache.up_to_date(token)
        if is_chosen(name):
            state.registry.keep(name, Variant(base, provider))
            state.cache.usage.note(name)
        state.cache.store(name, token)
        state.notifier.subscriptions.enqueue(name, token.token)
        background.scheduler.schedule(name, token.renew_at)
        state.make_room()
    background.ensure_running()
    # 3. What the fleet has of single resources. The record of the grant has the new token.
    membership = coordinator.memberships.of(provider)
    for each, its_provider in of_grant.items():
        if each != grant_name and membership is not None:
            membership.forget(its_provider, each)
