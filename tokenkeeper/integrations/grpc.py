"""``grpc``: a plugin that adds the token to each call, and an interceptor that renews it once.

``grpc.aio`` uses the same plugin. Its interceptors are in
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
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.authorization import header_value
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.integrations._grpc_calls import Deadline, is_refusal
from tokenkeeper.integrations._grpc_future import RenewingFuture
from tokenkeeper.integrations._grpc_stream import RenewingStream
from tokenkeeper.integrations._tokens import Tokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

__all__ = ["KeeperPlugin", "RenewingInterceptor"]

if TYPE_CHECKING:  # generic in the stubs only
    _UnaryUnary = grpc.UnaryUnaryClientInterceptor[Any, Any]
    _UnaryStream = grpc.UnaryStreamClientInterceptor[Any, Any]
    _StreamUnary = grpc.StreamUnaryClientInterceptor[Any, Any]
    _StreamStream = grpc.StreamStreamClientInterceptor[Any, Any]
else:
    _UnaryUnary = grpc.UnaryUnaryClientInterceptor
    _UnaryStream = grpc.UnaryStreamClientInterceptor
    _StreamUnary = grpc.StreamUnaryClientInterceptor
    _StreamStream = grpc.StreamStreamClientInterceptor


class KeeperPlugin(NotPicklable, grpc.AuthMetadataPlugin):
    """Adds ``authorization: Bearer`` to calls. Thread-safe.

    gRPC calls it on its own thread, and for secure channels only, so a token is never sent to
    an unverified server. A call for which there is no token ends with ``UNAVAILABLE``, and its
    details explain why.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    """

    def __init__(self, keeper: TokenKeeper | TokenSource, provider_name: str | None = None) -> None:
        self._tokens = Tokens(keeper, provider_name)

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        """Pass the token to gRPC."""
        try:
            token = self._tokens.get()
        except Exception as error:  # noqa: BLE001 - gRPC reports any error to the caller
            callback((), error)
        else:
            callback((("authorization", header_value(token)),), None)


class RenewingInterceptor(
    NotPicklable,
    _UnaryUnary,
    _UnaryStream,
    _StreamUnary,
    _StreamStream,
):
    """Renews a token that a server refuses with ``UNAUTHENTICATED``, once. Thread-safe.

    The call is then made again, if it has one request and no response has arrived. However many
    calls are refused at once, one renewal follows. If the second attempt is refused as well, the
    caller gets that refusal. A stream of requests can't be sent again: the caller gets the refusal
    at once, and the next call has the new token.

    The ``timeout`` of a call covers both attempts and the wait for a token. A call by ``future()``
    blocks only while the provider has no token at all.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token the plugin adds.
    """

    def __init__(self, keeper: TokenKeeper | TokenSource, provider_name: str | None = None) -> None:
        self._tokens = Tokens(keeper, provider_name)

    # The token of a call is looked up here before the plugin looks it up. If the plugin gets a
    # newer one, the older one was renewed already, and reporting it again changes nothing.

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make a call with one response."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        call = continuation(deadline.details_now(), request)
        if token is None or (call.done() and not is_refusal(call.code())):
            return call
        # It may be a call by future(), which must not block. gRPC does not tell them apart.
        return RenewingFuture(
            call,
            partial(self._handle_refusal, token, deadline, can_be_resent=True),
            lambda: continuation(deadline.details_now(), request),
        )

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make a call with many responses."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        return RenewingStream(
            continuation(deadline.details_now(), request),
            lambda repeatable: self._handle_refusal(token, deadline, can_be_resent=repeatable),
            lambda: continuation(deadline.details_now(), request),
        )

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make a call with many requests and one response."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        call = continuation(deadline.details_now(), request_iterator)

        def on_end(ended: Any) -> None:
            if is_refusal(ended.code()):
                self._handle_refusal(token, deadline, can_be_resent=False)

        call.add_done_callback(on_end)
        return call

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make a call with many of both."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        return RenewingStream(
            continuation(deadline.details_now(), request_iterator),
            lambda repeatable: self._handle_refusal(token, deadline, can_be_resent=repeatable),
            call_again=None,
        )

    # Without a token, the call is made all the same: the plugin gets the same error and passes it
    # to gRPC, so that the caller gets an error of gRPC's, as for anything else that fails.

    def _token(self, deadline: Deadline) -> Hidden[str] | None:
        try:
            return self._tokens.within(deadline.remaining()).get()
        except OAuth2Error:
            return None

    def _handle_refusal(
        self, token: Hidden[str] | None, deadline: Deadline, *, can_be_resent: bool
    ) -> bool:
        """Run the 401 flow; return whether to make the call again."""
        if token is None:
            return can_be_resent
        try:
            tokens = self._tokens.within(deadline.remaining())
            return tokens.replace(Refusal(token, lambda: can_be_resent)) is not None
        except OAuth2Error:
            return True
