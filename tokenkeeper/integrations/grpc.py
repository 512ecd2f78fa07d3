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
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error, TokenRejectedError
from tokenkeeper.integrations._grpc_calls import Answers, Deadline, Later, was_refused
from tokenkeeper.integrations._refusals import let_go
from tokenkeeper.keeper import TokenKeeper, checked_pair

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
    """Puts ``authorization: Bearer`` on calls. Thread-safe.

    gRPC calls it on a thread of its own, and for secure channels only, so a token never leaves
    for a server that was not verified. A call for which there is no token ends with
    ``UNAVAILABLE``, and the details say why.

    :param keeper: where tokens come from.
    :param provider_name: whose.
    """

    def __init__(self, keeper: TokenKeeper, provider_name: str) -> None:
        self._keeper = checked_pair(keeper, provider_name)
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
    NotPicklable,
    _UnaryUnary,
    _UnaryStream,
    _StreamUnary,
    _StreamStream,
):
    """Renews once where a server says ``UNAUTHENTICATED``, and makes the call again. Thread-safe.

    A hundred calls that are refused at once cause one renewal. A second refusal is the caller's.
    A call is made again if it has one request, and no answer has come of it. A stream of requests
    can't be taken back: its refusal is the caller's, and the next call has the new token.

    A call ends when its ``timeout`` does, the wait for a token and the second try included. One by
    ``future()`` waits for the first token of all, and for nothing else.

    :param keeper: where tokens come from.
    :param provider_name: whose; the same that the plugin has.
    """

    def __init__(self, keeper: TokenKeeper, provider_name: str) -> None:
        self._keeper = checked_pair(keeper, provider_name)
        self._provider_name = provider_name

    # The token of a call is looked up here before the plugin does that. If the plugin has a newer
    # one by then, the one named here was renewed already, and naming it again changes nothing.

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make a call with one answer."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        call = continuation(deadline.now(), request)
        if token is None or (call.done() and not was_refused(call)):
            return call
        # It may be one by future(), which must not wait. One that waits can't be told from it.
        return Later(
            call,
            renew=partial(self._renew, token, deadline),
            again=lambda: continuation(deadline.now(), request),
        )

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make a call with many answers."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        return Answers(
            continuation(deadline.now(), request),
            let_go=partial(self._let_go, token),
            renew=partial(self._renew, token, deadline),
            again=lambda: continuation(deadline.now(), request),
        )

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make a call with many requests and one answer."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        call = continuation(deadline.now(), request_iterator)

        def ended(done: Any) -> None:
            if was_refused(done):
                self._let_go(token)

        call.add_done_callback(ended)
        return call

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make a call with many of both."""
        deadline = Deadline.of(client_call_details)
        token = self._token(deadline)
        return Answers(
            continuation(deadline.now(), request_iterator),
            let_go=partial(self._let_go, token),
            renew=partial(self._renew, token, deadline),
            again=None,
        )

    # Where the keeper has no token, the plugin meets the same error and hands it to gRPC. The
    # caller then has an error of gRPC's, as for all else that may befall a call.

    def _token(self, deadline: Deadline) -> Hidden[str] | None:
        try:
            return Hidden(self._keeper.get_token(self._provider_name, timeout=deadline.left()))
        except OAuth2Error:
            return None

    def _renew(self, token: Hidden[str] | None, deadline: Deadline) -> bool:
        """Have *token* renewed; return whether the call may be made again."""
        if token is not None:
            name = self._provider_name
            try:
                self._keeper.renew_refused(name, token.text, timeout=deadline.left())
            except TokenRejectedError:
                return False  # the server would refuse the call again
            except OAuth2Error:
                pass  # the plugin meets the same error
        return True

    def _let_go(self, token: Hidden[str] | None) -> None:
        if token is not None:
            let_go(self._keeper, self._provider_name, token)
