"""``kubernetes``: a client whose requests have the current token, and are sent again after a 401.

``CoreV1Api`` and the other APIs take it in place of an ``ApiClient``.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from kubernetes.client import ApiClient, Configuration

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.authorization import header_value
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._bearer import bearer
from tokenkeeper.integrations._tokens import Tokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.source import TokenSource

__all__ = ["KeeperApiClient", "configure"]

_IDENTIFIERS = ("BearerToken", "authorization")  # the newer name, and the older


def configure(configuration: Configuration, source: TokenSource) -> None:
    """Have each request with *configuration* authenticated with the current token of *source*.

    It replaces the token that is configured. A plain ``ApiClient`` reports a 401 to no hook, so
    a rejected token stays in use until it expires; prefer :class:`KeeperApiClient`.
    """
    hook: Any = _Hook(source)
    configuration.refresh_api_key_hook = hook
    for identifier in _IDENTIFIERS:
        # The hook is called only if there is an entry. This one is never sent.
        configuration.api_key[identifier] = ""
        configuration.api_key_prefix.pop(identifier, None)


class KeeperApiClient(NotPicklable, ApiClient):
    """An ``ApiClient`` that gets its tokens from *source*, and renews a rejected one. Thread-safe.

    When the API server answers 401, the token that it rejected is renewed, and the request is sent
    again with the new one. However many requests are rejected at once, one renewal follows. If the
    second answer is a 401 as well, the caller gets it.

    :param source: the source of the token.
    :param configuration: host, certificates and the rest, which is copied; by default the default
        configuration.
    :param timeout: seconds to wait for a new token after a 401; by default there is no limit.
    :param options: what ``ApiClient`` takes.
    """

    def __init__(
        self,
        source: TokenSource,
        configuration: Configuration | None = None,
        *,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        copied = deepcopy(configuration) or Configuration.get_default_copy()
        configure(copied, source)
        super().__init__(copied, **options)
        pool: Any = _RenewingPool(self.rest_client.pool_manager, Tokens(source, timeout=timeout))
        self.rest_client.pool_manager = pool


class _Authorization(str):
    """The value of a header with a token of ours, in contrast to one that a caller passed."""

    __slots__ = ()


class _Hook(NotPicklable):
    """Sets the token of a configuration, which calls it before each request."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    def __call__(self, configuration: Configuration) -> None:
        value = _Authorization(header_value(Hidden(bearer(self._source))))
        configuration.api_key.update(dict.fromkeys(_IDENTIFIERS, value))


class _RenewingPool:
    """A ``urllib3.PoolManager`` that sends a request again if its token was rejected."""

    def __init__(self, pool: Any, tokens: Tokens) -> None:
        self._pool = pool
        self._tokens = tokens

    def request(self, method: str, url: str, **options: Any) -> Any:
        """Send a request."""
        response = self._pool.request(method, url, **options)
        headers = options.get("headers") or {}
        value = headers.get("authorization")
        if response.status != 401 or not isinstance(value, _Authorization):
            return response
        _ = response.data  # frees the connection, and stays available
        token = self._tokens.replace(
            # The body is a text, or the fields of a form.
            Refusal(Hidden(value.partition(" ")[2]), lambda: True)
        )
        if token is None:
            return response
        options["headers"] = {**headers, "authorization": header_value(token)}
        return self._pool.request(method, url, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)
