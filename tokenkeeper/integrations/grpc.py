"""``grpc``: a plugin that puts the token on each call, and an interceptor that renews it once.

For ``grpc.aio`` the plugin is the same; its interceptors are in
:mod:`tokenkeeper.integrations.grpc_aio`.

.. code-block:: python

    calls = grpc.metadata_call_credentials(KeeperPlugin(keeper, "billing"))
    secure = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), calls)
    channel = grpc.intercept_channel(
        grpc.secure_channel("api.example.com:443", secure), RenewingInterceptor(keeper, "billing")
    )
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc

from tokenkeeper.exceptions import OAuth2Error

if TYPE_CHECKING:
    from tokenkeeper.keeper import TokenKeeper

__all__ = ["KeeperPlugin", "RenewingInterceptor"]


class KeeperPlugin(grpc.AuthMetadataPlugin):
    """Puts ``authorization: Bearer`` on calls. Thread-safe.

    gRPC calls it on a thread of its own, and for secure channels only, so a token never leaves
    for a server that was not verified. A call for which there is no token ends with
    ``UNAVAILABLE``, and the details say why.
    """

    def __init__(self, keeper: TokenKeeper, provider_name: str) -> None:
        self._keeper = keeper
        self._provider_name = provider_name

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        """Hand the token to gRPC."""
        try:
            token = self._keeper.get_token(self._provider_name)
        except Exception as error:  # noqa: BLE001 - gRPC is to hear of it, whatever it is
            callback((), error)
        else:
            callback((("authorization", f"Bearer {token}"),), None)


class RenewingInterceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Renews once where a server says ``UNAUTHENTICATED``, and makes the call again.

    A hundred calls that are refused at once cause one renewal. A second refusal is the caller's.
    A call is made again if it has one request, and no answer has come of it. A stream of requests
    can't be taken back: its refusal is the caller's, and the next call has the new token.

    A call with one request and one answer is waited for, also if it was made by ``future()``.
    """

    def __init__(self, keeper: TokenKeeper, provider_name: str) -> None:
        self._keeper = keeper
        self._provider_name = provider_name

    # The token of a call is looked up here before the plugin does that. If the plugin has a newer
    # one by then, the one named here was renewed already, and naming it again changes nothing.

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make a call with one answer."""
        token = self._keeper.get_token(self._provider_name)
        call = continuation(client_call_details, request)
        if not _was_refused(call):
            return call
        self._keeper.renew_refused(self._provider_name, token)
        return continuation(client_call_details, request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make a call with many answers."""
        token = self._keeper.get_token(self._provider_name)

        def renewed() -> Any:
            self._keeper.renew_refused(self._provider_name, token)
            return continuation(client_call_details, request)

        call = continuation(client_call_details, request)
        return _Answers(call, again=renewed, refused=partial(self._let_go, token))

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make a call with many requests and one answer."""
        token = self._keeper.get_token(self._provider_name)
        call = continuation(client_call_details, request_iterator)

        def ended(done: Any) -> None:
            if _was_refused(done):
                self._let_go(token)

        call.add_done_callback(ended)
        return call

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make a call with many of both."""
        token = self._keeper.get_token(self._provider_name)
        call = continuation(client_call_details, request_iterator)
        return _Answers(call, again=None, refused=partial(self._let_go, token))

    def _let_go(self, token: str) -> None:
        """Have *token* renewed, and wait for nothing: this may be a thread of gRPC's."""
        with suppress(OAuth2Error):  # the next call will hear of it
            self._keeper.renew_refused(self._provider_name, token, timeout=0)


def _was_refused(call: Any) -> bool:
    return bool(call.code() is grpc.StatusCode.UNAUTHENTICATED)


class _Answers:
    """A call with many answers, of which the first decides whether it is made again.

    All but the answers is looked up at the call that counts.
    """

    def __init__(
        self, call: Any, *, again: Callable[[], Any] | None, refused: Callable[[], None]
    ) -> None:
        self._call = call
        self._again = again
        self._refused = refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            answer = next(self._call)
        except grpc.RpcError:
            if not _was_refused(self._call):
                raise
            if self._again is None:
                self._refused()
                raise
        else:
            self._again = None
            return answer
        again, self._again = self._again, None
        self._call = again()
        return next(self)
