"""The tokens of one source, as the clients' modules use them: get one, replace a refused one."""

from __future__ import annotations

from typing import Self

from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._unauthorized import Refusal, run, run_async, unauthorized_flow
from tokenkeeper.keeper import TokenKeeper, source_from
from tokenkeeper.source import TokenSource

__all__ = ["AsyncTokens", "Tokens"]


class _Tokens:
    """What blocking and async clients share. Immutable; equal if keeper, name and timeout are.

    :param given: a source; or a keeper, with the name of a provider.
    :param timeout: seconds to wait for a token at most; ``None`` for no limit.
    :raises InvalidConfigurationError: naming the argument that can't be what it should be.
    """

    def __init__(
        self,
        given: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self.source = source_from(given, provider_name, timeout)
        self.timeout = timeout

    @property
    def provider_name(self) -> str:
        """The name of the provider."""
        return self.source.name.provider_name

    def within(self, timeout: float | None) -> Self:
        """Return the same tokens with another *timeout*."""
        return type(self)(self.source, timeout=timeout)

    def would_reject(self, token: Hidden[str], /) -> bool:
        """Return whether refusing *token* would cause no renewal now."""
        return self.source.would_reject(token.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._identity == other._identity

    def __hash__(self) -> int:
        # Not of the keeper: a source of the default keeper may have another one later.
        return hash((self.source.name, self.timeout))

    @property
    def _identity(self) -> tuple[int, str, float | None]:
        return id(self.source.keeper), str(self.source.name), self.timeout


class Tokens(_Tokens):
    """The tokens of one source, for a blocking client. Thread-safe."""

    def get(self) -> Hidden[str]:
        """Return a valid token.

        :raises OAuth2Error: if there is none.
        """
        return Hidden(self.source.get_token(timeout=self.timeout))

    def replace(self, refusal: Refusal) -> Hidden[str] | None:
        """Run the 401 flow; return the token to send the request again with, or ``None``.

        :raises OAuth2Error: if renewing the token fails.
        """
        return run(unauthorized_flow(self, refusal))

    def renew(
        self, token: Hidden[str], /, timeout: float | None, claims: str | None = None
    ) -> Hidden[str]:
        """Return a token that replaces *token*, which an API refused."""
        return Hidden(self.source.renew_refused(token.text, timeout=timeout, claims=claims))


class AsyncTokens(_Tokens):
    """The tokens of one source, for an async client under asyncio or trio."""

    def __init__(
        self,
        given: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(given, provider_name, timeout)
        self._aio = self.source.aio

    async def get(self) -> Hidden[str]:
        """Return a valid token: :meth:`Tokens.get`."""
        return Hidden(await self._aio.get_token(timeout=self.timeout))

    async def replace(self, refusal: Refusal) -> Hidden[str] | None:
        """Run the 401 flow: :meth:`Tokens.replace`."""
        return await run_async(unauthorized_flow(self, refusal))

    async def renew(
        self, token: Hidden[str], /, timeout: float | None, claims: str | None = None
    ) -> Hidden[str]:
        """Return a token that replaces *token*, which an API refused."""
        new = await self._aio.renew_refused(token.text, timeout=timeout, claims=claims)
        return Hidden(new)
