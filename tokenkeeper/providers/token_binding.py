"""The key that the tokens of a provider are bound to, if they are (RFC 9449)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.checks import checked_switch
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Token

if TYPE_CHECKING:
    from tokenkeeper.oauth.dpop import DPoPKey

__all__ = ["NOT_BOUND", "TokenBinding", "token_binding"]


@dataclass(frozen=True, slots=True)
class TokenBinding:
    """Which key requests are sent with. Immutable.

    :ivar key: the provider's key; ``None`` if it binds no tokens.
    :ivar allow_bearer: whether a token that the server did not bind is accepted.
    """

    key: DPoPKey | None = field(default=None, repr=False)
    allow_bearer: bool = False

    def key_for(self, token: OAuth2Token) -> DPoPKey | None:
        """Return the key that the refresh token of *token* is bound to (RFC 9449 §5).

        It may be the key of another process, which came with the token from the store.
        """
        return self.key and (cast("DPoPKey | None", token.dpop_key) or self.key)

    def identity(self) -> Mapping[str, object]:
        """Return the part of the identity that keeps apart the tokens of different keys.

        A generated key is stored with its tokens, so processes that generated one share them.
        """
        if self.key is None:
            return {}
        return {"dpop": "generated" if self.key.is_generated else self.key.thumbprint}


NOT_BOUND = TokenBinding()
"""That of a provider of bearer tokens."""


def token_binding(dpop: object, allow_bearer: object) -> TokenBinding:
    """Return what the options *dpop* and *allow_bearer* of a provider describe.

    :raises InvalidConfigurationError: if one of them is of the wrong type, or there is nothing to
        allow.
    """
    allows = checked_switch(allow_bearer, "allow_bearer")
    if dpop is not False:
        with forks_wait():  # most providers have no key, so most processes do not load this
            from tokenkeeper.oauth.dpop import dpop_key_of

        return TokenBinding(dpop_key_of(dpop), allows)
    if allows:
        raise InvalidConfigurationError(
            "allow_bearer needs dpop: without it, tokens are bearer tokens anyway. Set dpop=True, "
            "or remove it.",
            field="allow_bearer",
        )
    return NOT_BOUND
