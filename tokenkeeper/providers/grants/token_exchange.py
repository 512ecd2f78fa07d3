"""Token exchange (RFC 8693): a token for another one, often to act for the caller of an API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper.names import TokenParameters
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.late_text import LateText
from tokenkeeper.oauth.token_types import ACCESS_TOKEN, checked_token_type
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.presented import Presented

__all__ = ["TokenExchange"]

NOT_AN_ACCESS_TOKEN = "N_A"  # noqa: S105 - RFC 8693 §2.2.1


class TokenExchange(Grant):
    """Exchanges the token of a subject for another one (RFC 8693 §2). Thread-safe.

    Without an actor this is impersonation: the new token is the subject's. With an actor it is
    delegation: the new token says who acts for whom, usually in the claim ``act``.

    An API that acts for its callers leaves out *subject*, and names the token of each caller:
    ``keeper.source("orders", subject=their_token)()``. Such a token is kept in the keeper's limited
    cache (``max_tokens``) and renewed only while it is used.

    Where a token comes from is a :class:`~tokenkeeper.TokenSource`, any other function that returns
    one, or a ``Path``; it is asked for each request. A source of another provider of the same
    keeper makes a chain.

    The token's ``extra`` has ``issued_token_type``. A token that is not an access token, such as
    one requested as a ``jwt``, is returned in the same way; its ``token_type`` is ``N_A``.

    :param subject: the token of the party to act for, or where it comes from; ``None``, the
        default, if each source names it. A source's own replaces it.
    :param subject_token_type: what it is: a URI of RFC 8693 §3, or a short name such as ``jwt``,
        ``id_token`` or ``saml2``; an access token by default.
    :param actor: the token of the party that acts, or where it comes from; ``None``, the default,
        for impersonation. A source's own replaces it.
    :param actor_token_type: what that is; an access token by default.
    :param requested_token_type: what to ask for; ``None``, the default, leaves it to the server.
    :raises InvalidConfigurationError: for a value that can't work.

    Which client may exchange which token for what is up to the server; leaving out ``scope`` asks
    for the client's default. ``resource`` and ``audience`` are sent verbatim, and may be several.
    """

    grant_type: str = "urn:ietf:params:oauth:grant-type:token-exchange"
    takes: frozenset[str] = frozenset({"scope", "resource", "audience", "subject", "actor"})

    def __init__(
        self,
        subject: LateText | str | None = None,
        *,
        subject_token_type: str = ACCESS_TOKEN,
        actor: LateText | str | None = None,
        actor_token_type: str = ACCESS_TOKEN,
        requested_token_type: str | None = None,
    ) -> None:
        self._subject = Presented(subject, "subject")
        self._subject_token_type = checked_token_type(subject_token_type, "subject_token_type")
        self._actor = Presented(actor, "actor")
        self._actor_token_type = checked_token_type(actor_token_type, "actor_token_type")
        self._requested = ""
        if requested_token_type is not None:
            self._requested = checked_token_type(requested_token_type, "requested_token_type")
        if self._requested not in ("", ACCESS_TOKEN):
            self.accept_token_types: tuple[str, ...] = (NOT_AN_ACCESS_TOKEN,)

    def parameters(self, wanted: TokenParameters, to: Recipient) -> Mapping[str, Any]:
        """Return the tokens and their types (RFC 8693 §2.1)."""
        given = {
            "subject_token": self._subject.read(wanted.subject, to),
            "subject_token_type": self._subject_token_type,
            "requested_token_type": self._requested,
        }
        if wanted.actor is not None or self._actor.is_given:
            given["actor_token"] = self._actor.read(wanted.actor, to)
            given["actor_token_type"] = self._actor_token_type
        return given

    def identity(self) -> Mapping[str, object]:
        """Return the types, and where the tokens come from."""
        return {
            "subject": self._subject.identity(),
            "subject_token_type": self._subject_token_type,
            "actor": self._actor.identity(),
            "actor_token_type": self._actor_token_type,
            "requested_token_type": self._requested,
        }
