"""``grpc.aio``: interceptors that renew a refused token once.

.. code-block:: python

    calls = grpc.metadata_call_credentials(KeeperPlugin(keeper, "billing"))
    secure = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), calls)
    channel = grpc.aio.secure_channel(
        "api.example.com:443", secure, interceptors=renewing_interceptors(keeper, "billing")
    )
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import grpc
import grpc.aio

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.integrations._grpc_calls import Deadline, is_refusal
from tokenkeeper.integrations._tokens import AsyncTokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

__all__ = ["renewing_interceptors"]

_NO_RESPONSE = object()


def renewing_interceptors(
    keeper: TokenKeeper | TokenSource, provider_name: str | None = None
) -> list[grpc.aio.ClientInterceptor]:
    """Return the ``interceptors=`` of a channel: one for each kind of call, as gRPC requires.

    They do what :class:`tokenkeeper.integrations.grpc.RenewingInterceptor` does. A call with one
    request is made again if no response has arrived. A call with a stream of requests is not, and
    the next call has the new token. A call with one request and many responses starts for its
    caller when the first response has arrived. The ``timeout`` of a call covers both attempts and
    the wait for a token.

    If a stream of requests is refused while a request is being written, gRPC may report that as
    ``INTERNAL`` (its issue 36066). It can't be recognized as a refusal, and the token is kept.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token the plugin adds.

    Make new ones for each channel: they belong to the event loop of their channel.
    """
    tokens = AsyncTokens(keeper, provider_name)
    kinds = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
    return [kind(tokens) for kind in kinds]  # type: ignore[misc]


class _Renewing(NotPicklable):
    """What the four interceptors share: the token of a call, and the 401 flow.

    Without a token, the call is made all the same: the plugin gets the same error and passes it
    to gRPC.
    """

    def __init__(self, tokens: AsyncTokens) -> None:
        self._tokens = tokens

    async def _token(self, deadline: Deadline) -> Hidden[str] | None:
        try:
            return await self._tokens.within(deadline.remaining()).get()
        except OAuth2Error:
            return None

    async def _handle_refusal(
        self, token: Hidden[str] | None, deadline: Deadline, *, can_be_resent: bool
    ) -> bool:
        """Run the 401 flow; return whether to make the call again."""
        if token is None:
            return False
        try:
            tokens = self._tokens.within(deadline.remaining())
            return await tokens.replace(Refusal(token, lambda: can_be_resent)) is not None
        except OAuth2Error:
            return True

    async def _watched(
        self, responses: AsyncIterable[Any], token: Hidden[str] | None, deadline: Deadline
    ) -> AsyncIterator[Any]:
        """Yield *responses* of a call that can't be made again; start a renewal if refused."""
        try:
            async for response in responses:
                yield response
        except grpc.aio.AioRpcError as error:
            if is_refusal(error.code()):
                await self._handle_refusal(token, deadline, can_be_resent=False)
            raise


class _UnaryUnary(_Renewing, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.details_now(), request)
        try:
            code = await call.code()
        except asyncio.CancelledError:
            call.cancel()  # the caller has no access to it yet
            raise
        if is_refusal(code) and await self._handle_refusal(token, deadline, can_be_resent=True):
            return await continuation(deadline.details_now(), request)
        return call


class _UnaryStream(_Renewing, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.details_now(), request)
        responses = aiter(call)
        try:
            first = await anext(responses, _NO_RESPONSE)
        except grpc.aio.AioRpcError as error:
            if not is_refusal(error.code()):
                raise
            if not await self._handle_refusal(token, deadline, can_be_resent=True):
                raise
            return await continuation(deadline.details_now(), request)
        if first is _NO_RESPONSE:
            return call
        return _chained(first, self._watched(responses, token, deadline))


async def _chained(first: Any, others: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for response in others:
        yield response


class _StreamUnary(_Renewing, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, tokens: AsyncTokens) -> None:
        super().__init__(tokens)
        self._watchers: set[asyncio.Task[None]] = set()  # the loop has only weak references

    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.details_now(), request_iterator)
        # The caller can write requests only after this method returns, so another task waits.
        task = asyncio.get_running_loop().create_task(self._watch(call, token, deadline))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)
        return call

    async def _watch(self, call: Any, token: Hidden[str] | None, deadline: Deadline) -> None:
        if is_refusal(await call.code()):
            await self._handle_refusal(token, deadline, can_be_resent=False)


class _StreamStream(_Renewing, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.details_now(), request_iterator)
        return self._watched(call, token, deadline)
