"""The tokens of one provider, as the clients' modules use them: get one, replace a refused one."""

from __future__ import annotations

from typing import Self

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._unauthorized import Refusal, run, run_async, unauthorized_flow
from tokenkeeper.keeper import TokenKeeper, checked_pair, would_reject
from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["AsyncProviderTokens", "ProviderTokens"]


class _Tokens:
    """What blocking and async clients share. Immutable; equal if keeper, name and timeout are.

    :param timeout: seconds to wait for a token at most; ``None`` for no limit.
    :raises InvalidConfigurationError: naming the argument that can't be what it should be.
    """

    def __init__(
        self, keeper: TokenKeeper, provider_name: str, timeout: float | None = None
    ) -> None:
        self.keeper = checked_pair(keeper, provider_name, timeout)
        self.provider_name = provider_name
        self.timeout = timeout

    def within(self, timeout: float | None) -> Self:
        """Return the same tokens with another *timeout*."""
        return type(self)(self.keeper, self.provider_name, timeout)

    def would_reject(self, token: Hidden[str], /) -> bool:
        """Return whether refusing *token* would cause no renewal now."""
        return would_reject(self.keeper, self.provider_name, token.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[int, str, float | None]:
        return id(self.keeper), self.provider_name, self.timeout


class ProviderTokens(_Tokens):
    """The tokens of one provider, for a blocking client. Thread-safe."""

    def get(self) -> Hidden[str]:
        """Return a valid token.

        :raises OAuth2Error: if there is none.
        """
        return Hidden(self.keeper.get_token(self.provider_name, timeout=self.timeout))

    def replace(self, refusal: Refusal) -> Hidden[str] | None:
        """Run the 401 flow; return the token to send the request again with, or ``None``.

        :raises OAuth2Error: if renewing the token fails.
        """
        return run(unauthorized_flow(self, refusal))

    def renew(self, token: Hidden[str], /, timeout: float | None) -> Hidden[str]:
        """Return a token that replaces *token*, which an API refused."""
        name = self.provider_name
        return Hidden(self.keeper.renew_refused(name, token.text, timeout=timeout))


class AsyncProviderTokens(_Tokens):
    """The tokens of one provider, for an async client under asyncio or trio."""

    def __init__(
        self, keeper: TokenKeeper, provider_name: str, timeout: float | None = None
    ) -> None:
        super().__init__(keeper, provider_name, timeout)
        self._manager = OAuth2TokenManager(self.keeper)

    async def get(self) -> Hidden[str]:
        """Return a valid token: :meth:`ProviderTokens.get`."""
        return Hidden(await self._manager.get_token(self.provider_name, timeout=self.timeout))

    async def replace(self, refusal: Refusal) -> Hidden[str] | None:
        """Run the 401 flow: :meth:`ProviderTokens.replace`."""
        return await run_async(unauthorized_flow(self, refusal))

    async def renew(self, token: Hidden[str], /, timeout: float | None) -> Hidden[str]:
        """Return a token that replaces *token*, which an API refused."""
        name = self.provider_name
        return Hidden(await self._manager.renew_refused(name, token.text, timeout=timeout))
