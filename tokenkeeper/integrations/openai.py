"""``openai``: HTTP clients for its ``http_client=`` that renew a refused token once.

``OpenAI(api_key=source)`` also sends a source's token, but does not report a refusal to it. Use
both, ``OpenAI(api_key=source, http_client=http_client(source))``: the client wants a key, and opens
websockets with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openai import DefaultAsyncHttpxClient, DefaultHttpxClient

from tokenkeeper.integrations._sdk_clients import auth_for
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

__all__ = ["async_http_client", "http_client"]


def http_client(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    allowed_hosts: Iterable[str] | None = None,
    **options: Any,
) -> DefaultHttpxClient:
    """Return an HTTP client for ``OpenAI`` and ``AzureOpenAI``, with openai's own defaults.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param allowed_hosts: the hosts that may get the token, as for
        :class:`tokenkeeper.integrations.httpx.KeeperAuth`.
    :param options: arguments of ``openai.DefaultHttpxClient``, such as ``proxy`` and ``verify``.
    """
    auth = auth_for(DefaultHttpxClient, keeper, provider_name, allowed_hosts)
    return DefaultHttpxClient(auth=auth, **options)


def async_http_client(
    keeper: TokenKeeper | TokenSource,
    provider_name: str | None = None,
    *,
    allowed_hosts: Iterable[str] | None = None,
    **options: Any,
) -> DefaultAsyncHttpxClient:
    """Return the same for ``AsyncOpenAI`` and ``AsyncAzureOpenAI``.

    Its key is ``api_key=source.aio.get_token``, which the client awaits.
    """
    auth = auth_for(DefaultAsyncHttpxClient, keeper, provider_name, allowed_hosts)
    return DefaultAsyncHttpxClient(auth=auth, **options)
