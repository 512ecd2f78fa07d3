"""What a provider does for a sign-in: its grant knows how, its client sends the requests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import no_sign_in
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn, SignIn, resources_in
from tokenkeeper.providers.token_binding import TokenBinding

if TYPE_CHECKING:
    from tokenkeeper.oauth.client import OAuthClient
    from tokenkeeper.oauth.dpop import DPoPKey

__all__ = [
    "AUTHORIZED",
    "begun",
    "checked_answer",
    "key_of",
    "sign_in_of",
    "warn_without_refresh_token",
    "without_unauthorized",
]

_log = logging.getLogger("tokenkeeper.oauth")

AUTHORIZED = "tokenkeeper_authorized_resources"
"""The member of ``extra`` with the resources that a sign-in asked for. It is kept with the refresh
token, so that all processes know them."""

_KEY, _THUMBPRINT = "dpop_key", "dpop_jkt"


def sign_in_of(grant: Grant, provider_name: str) -> SignIn:
    """Return *grant* if it begins with a sign-in.

    :raises InvalidConfigurationError: if it does not.
    """
    if not isinstance(grant, SignIn):
        raise no_sign_in(provider_name)
    return grant


def begun(grant: SignIn, client: OAuthClient, asked: Asked, binding: TokenBinding) -> PendingSignIn:
    """Begin a sign-in, and return it with all that another process needs to complete it.

    A generated key is part of that: the server binds the token to the key that the sign-in began
    with (RFC 9449 §10).

    :raises OAuth2Error: if it can't be begun.
    """
    grant.check(asked.parameters)
    if not asked.parameters.resource and grant.resources:
        asked = replace(asked, parameters=replace(asked.parameters, resource=grant.resources))
    key = binding.key
    asked = replace(asked, dpop_jkt=None if key is None else key.thumbprint)
    pending = grant.begin(client, asked)
    secrets = dict(pending.secrets)
    if key is not None and key.is_generated:
        secrets[_KEY], secrets[_THUMBPRINT] = str(key.exported()), key.thumbprint
    resource = pending.resource or asked.parameters.resource
    return replace(pending, secrets=secrets, scope=asked.scope, resource=resource)


def checked_answer(
    grant: SignIn,
    client: OAuthClient,
    pending: PendingSignIn,
    callback_url: str | None,
    once: Callable[[], None] | None,
) -> Mapping[str, Any]:
    """Return the parameters of the token request that ends *pending*.

    :param once: called when nothing but the request is left to do; may raise.
    :raises TokenAcquisitionError: if the answer is not accepted, or a refusal.
    """
    answer = grant.answer(client, pending, callback_url)
    if once is not None:
        once()
    return answer


def key_of(pending: PendingSignIn, binding: TokenBinding) -> DPoPKey | None:
    """Return the key that the token of *pending* is to be bound to; ``None`` for none."""
    pem = pending.secrets.get(_KEY)
    if binding.key is None or pem is None:
        return binding.key
    with forks_wait():  # it is loaded already, unless the sign-in began in another process
        from tokenkeeper.oauth.dpop import restored_key

    return restored_key(pem, pending.secrets[_THUMBPRINT])


def without_unauthorized(
    registered: Mapping[str, Any] | None, authorized: Iterable[str]
) -> Mapping[str, Any]:
    """Return what to send as ``resource`` in place of what is *registered*; nothing if that is it.

    A token request must not name a resource that the sign-in did not ask for: the server refuses
    it, and some revoke the refresh token then.

    :param registered: the further parameters of the registration.
    :param authorized: the resources that the sign-in asked for; empty if it named none.
    """
    allowed = set(authorized)
    resources = resources_in(registered or {})
    kept = tuple(each for each in resources if each in allowed)
    if not allowed or kept == resources:
        return {}
    return {"resource": kept[0] if len(kept) == 1 else kept}


def warn_without_refresh_token(token: OAuth2Token, provider_name: str) -> None:
    """Log a warning if *token*, which a sign-in brought, can't be renewed without a person."""
    if token.refresh_token is None:
        _log.warning(
            "provider %r: the sign-in brought no refresh token, so a person has to sign in again "
            "when its token expires. Request the scope offline_access, if the server knows it; "
            "some servers also need authorize_parameters={'prompt': 'consent'}",
            provider_name,
        )
