"""``grpc``: a plugin that puts the token on each call, and an interceptor that renews it once.

.. code-block:: python

    calls = grpc.metadata_call_credentials(KeeperPlugin(keeper, "billing"))
    secure = grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), calls)
    channel = grpc.intercept_channel(
        grpc.secure_channel("api.example.com:443", secure), RenewingInterceptor(keeper, "billing")
    )
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

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


class RenewingInterceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    """Renews once where a server says ``UNAUTHENTICATED``, and makes the call again.

    A hundred calls that are refused at once cause one renewal. A second refusal is the caller's.
    For calls with one request and one answer: a stream can't be taken back. It waits for the
    answer, also of a call that was made by ``future()``.
    """

    def __init__(self, keeper: TokenKeeper, provider_name: str) -> None:
        self._keeper = keeper
        self._provider_name = provider_name

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request: Any
    ) -> Any:
        """Make a call with one answer."""
        token = self._keeper.get_token(self._provider_name)
        call = continuation(client_call_details, request)
        if call.code() is not grpc.StatusCode.UNAUTHENTICATED:
            return call
        # If the plugin had a newer token by then, this one was renewed already.
        self._keeper.renew_refused(self._provider_name, token)
        return continuation(client_call_details, request)
