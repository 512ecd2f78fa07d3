"""What is done about a refused token: it is let go, renewed, or the refusal stays the caller's.

Where an API refuses freshly granted tokens, the keeper renews none for a while and raises
:class:`~tokenkeeper.exceptions.TokenRejectedError`. That error would hide what the API said. The
caller of a client library gets the API's own answer instead.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error, TokenRejectedError

if TYPE_CHECKING:
    from tokenkeeper.keeper import TokenKeeper
    from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["let_go", "let_go_async", "renewed", "renewed_async", "would_reject"]


def let_go(keeper: TokenKeeper, provider_name: str, token: Hidden[str]) -> None:
    """Have *token* renewed and wait for nothing: the caller is to hear of the refusal now."""
    with suppress(OAuth2Error):  # whoever calls next will hear of it
        keeper.renew_refused(provider_name, token.text, timeout=0)


async def let_go_async(manager: OAuth2TokenManager, provider_name: str, token: Hidden[str]) -> None:
    """Do what :func:`let_go` does."""
    with suppress(OAuth2Error):
        await manager.renew_refused(provider_name, token.text, timeout=0)


def would_reject(keeper: TokenKeeper, provider_name: str, token: Hidden[str]) -> bool:
    """Return whether *token* is not renewed now, so that the answer need not be given up."""
    return keeper._state.would_reject(provider_name, token.text)  # noqa: SLF001 - ours


def renewed(
    keeper: TokenKeeper, provider_name: str, token: Hidden[str], timeout: float | None
) -> Hidden[str]:
    """Return a token in place of *token*, or *token* if the keeper has no other.

    The request is then sent again with it, and the second refusal is the caller's.

    :raises OAuth2Error: if there is no token.
    """
    try:
        return Hidden(keeper.renew_refused(provider_name, token.text, timeout=timeout))
    except TokenRejectedError:
        return token


async def renewed_async(
    manager: OAuth2TokenManager, provider_name: str, token: Hidden[str], timeout: float | None
) -> Hidden[str]:
    """Do what :func:`renewed` does."""
    try:
        return Hidden(await manager.renew_refused(provider_name, token.text, timeout=timeout))
    except TokenRejectedError:
        return token
