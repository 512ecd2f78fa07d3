"""What is done about a refused token where its request can't be sent again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tokenkeeper.exceptions import OAuth2Error

if TYPE_CHECKING:
    from tokenkeeper.hiding import Hidden
    from tokenkeeper.keeper import TokenKeeper
    from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["let_go", "let_go_async"]


def let_go(keeper: TokenKeeper, provider_name: str, token: Hidden[str]) -> None:
    """Have *token* renewed and wait for nothing: the caller is to hear of the refusal now."""
    with suppress(OAuth2Error):  # whoever calls next will hear of it
        keeper.renew_refused(provider_name, token.text, timeout=0)


async def let_go_async(manager: OAuth2TokenManager, provider_name: str, token: Hidden[str]) -> None:
    """Do what :func:`let_go` does."""
    with suppress(OAuth2Error):
        await manager.renew_refused(provider_name, token.text, timeout=0)
