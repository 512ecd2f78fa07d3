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
from tokenkeeper.exceptions import OAuth2Error, TokenRejectedError
from tokenkeeper.integrations._grpc_calls import Deadline
from tokenkeeper.integrations._refusals import let_go_async
from tokenkeeper.keeper import TokenKeeper, checked_pair
from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["renewing_interceptors"]

_NOTHING = object()


def renewing_interceptors(
    keeper: TokenKeeper, provider_name: str
) -> list[grpc.aio.ClientInterceptor]:
    """Return the ``interceptors=`` of a channel: one for each kind of call, as gRPC wants it.

    They do what :class:`tokenkeeper.integrations.grpc.RenewingInterceptor` does. A call with one
    request is made again if no answer has come of it; one with a stream of requests is not, and
    the next call has the new token. A call with one request and many answers begins for the
    caller when the first answer is there. A call ends when its ``timeout`` does, the wait for a
    token and the second try included.

    gRPC may report a stream of requests that was refused while one was written as ``INTERNAL``
    (its issue 36066). Nobody can tell that this was a refusal, and the token is kept.

    :param keeper: where tokens come from.
    :param provider_name: whose; the same that the plugin has.

    Made anew for each channel, they belong to the event loop of that channel.
    """
    manager = OAuth2TokenManager(checked_pair(keeper, provider_name))
    kinds = (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)
    return [kind(manager, provider_name) for kind in kinds]  # type: ignore[misc]


class _Renewing(NotPicklable):
    """What the four have in common: the token, and what to do once it was refused.

    Where the keeper has no token, the plugin meets the same error and hands it to gRPC.
    """

    def __init__(self, manager: OAuth2TokenManager, provider_name: str) -> None:
        self._manager = manager
        self._provider_name = provider_name

    async def _token(self, deadline: Deadline) -> Hidden[str] | None:
        try:
            name = self._provider_name
            return Hidden(await self._manager.get_token(name, timeout=deadline.left()))
        except OAuth2Error:
            return None

    async def _renew(self, token: Hidden[str], deadline: Deadline) -> bool:
        """Have *token* renewed; return whether the call may be made again."""
        name = self._provider_name
        try:
            await self._manager.renew_refused(name, token.text, timeout=deadline.left())
        except TokenRejectedError:
            return False  # the server would refuse the call again
        except OAuth2Error:
            pass  # the plugin meets the same error
        return True

    async def _let_go(self, token: Hidden[str] | None) -> None:
        if token is not None:
            await let_go_async(self._manager, self._provider_name, token)

    async def _watched(
        self, answers: AsyncIterable[Any], token: Hidden[str] | None
    ) -> AsyncIterator[Any]:
        """Hand on *answers*, which are the caller's, their refusal included."""
        try:
            async for answer in answers:
                yield answer
        except grpc.aio.AioRpcError as error:
            if _is_refusal(error.code()):
                await self._let_go(token)
            raise


def _is_refusal(code: grpc.StatusCode) -> bool:
    return code is grpc.StatusCode.UNAUTHENTICATED


class _UnaryUnary(_Renewing, grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_unary(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.now(), request)
        try:
            code = await call.code()
        except asyncio.CancelledError:
            call.cancel()  # its caller has no other way to
            raise
        if token is None or not _is_refusal(code):
            return call
        if not await self._renew(token, deadline):
            return call
        return await continuation(deadline.now(), request)


class _UnaryStream(_Renewing, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_unary_stream(
        self, continuation: Any, client_call_details: Any, request: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.now(), request)
        answers = aiter(call)
        try:
            first = await anext(answers, _NOTHING)
        except grpc.aio.AioRpcError as error:
            if token is None or not _is_refusal(error.code()):
                raise
            if not await self._renew(token, deadline):
                raise
            return await continuation(deadline.now(), request)
        return call if first is _NOTHING else _chained(first, self._watched(answers, token))


async def _chained(first: Any, others: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for answer in others:
        yield answer


class _StreamUnary(_Renewing, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, manager: OAuth2TokenManager, provider_name: str) -> None:
        super().__init__(manager, provider_name)
        self._watching: set[asyncio.Task[None]] = set()  # a loop itself holds tasks but weakly

    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.now(), request_iterator)
        # Whoever writes the requests waits for this method, so it can't wait for the answer.
        task = asyncio.get_running_loop().create_task(self._watch(call, token))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return call

    async def _watch(self, call: Any, token: Hidden[str] | None) -> None:
        if _is_refusal(await call.code()):
            await self._let_go(token)


class _StreamStream(_Renewing, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        deadline = Deadline.of(client_call_details)
        token = await self._token(deadline)
        call = await continuation(deadline.now(), request_iterator)
        return self._watched(call, token)
