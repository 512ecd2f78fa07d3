"""Under which key a store has the record of a token."""

from __future__ import annotations

import json

from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.stores.sealed import Sealer

__all__ = ["record_key_of"]


def record_key_of(provider: BaseOAuth2Provider, token_name: str, sealer: Sealer) -> str:
    """Return the key of the record of the token *token_name*.

    It depends on the token's name and on the client that requests it, but not on its secret.

    :param provider: what requests it; for a token with parameters, its variant.
    """
    identity = [token_name, dict(provider.identity())]
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return sealer.record_key(text)
