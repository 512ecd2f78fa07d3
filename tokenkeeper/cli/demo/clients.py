"""The two ways to a token that the demo compares: one keeper, and a client written by hand."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlencode

import requests

from tokenkeeper.cli.demo.asyncio_http import Connection
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.manager import OAuth2TokenManager
from tokenkeeper.models import OAuth2Config

__all__ = ["PROVIDER_NAME", "TIMEOUT_SECONDS", "Client", "NaiveClient", "keeper_client"]

PROVIDER_NAME = "demo"

TIMEOUT_SECONDS = 10.0
"""How long a caller waits for one response."""

NAIVE_MARGIN = 1 / 60
"""The part of its life that the naive client leaves a token: a minute of an hour."""

_GRANT = {"grant_type": "client_credentials"}


class Client(NamedTuple):
    """How a caller gets a token: from a thread, and from a task."""

    get_token: Callable[[], str]
    get_token_async: Callable[[], Awaitable[str]]


def keeper_client(keeper: TokenKeeper) -> Client:
    """Return a client that all callers share: *keeper* and its asynchronous facade."""
    manager = OAuth2TokenManager(keeper)
    return Client(
        partial(keeper.get_token, PROVIDER_NAME), partial(manager.get_token, PROVIDER_NAME)
    )


class NaiveClient:
    """The client that is often written by hand. Each caller has one of its own.

    It keeps a token until shortly before its expiry, then requests the next one. A failed request
    is an error of the call that needed the token, and the next call tries again.
    """

    def __init__(self, config: OAuth2Config, clock: Clock = SYSTEM_CLOCK) -> None:
        self._url = str(config.token_url)
        self._auth = (config.client_id, config.client_secret or "")
        self._clock = clock
        self._token = ""
        self._renew_at = 0.0

    def get_token(self) -> str:
        """Return the token, after requesting one if necessary.

        :raises requests.RequestException: if the request fails.
        """
        if self._clock.time() >= self._renew_at:
            # What requests.post() does, but for the proxy and netrc of the environment.
            with requests.Session() as session:
                session.trust_env = False
                response = session.post(
                    self._url, data=_GRANT, auth=self._auth, timeout=TIMEOUT_SECONDS
                )
                response.raise_for_status()
                self._keep(response.json())
        return self._token

    async def get_token_async(self) -> str:
        """Return the token like :meth:`get_token`.

        :raises OSError: if the request fails; ``requests.RequestException`` is one.
        :raises EOFError: if the server closes the connection.
        """
        if self._clock.time() >= self._renew_at:
            connection = Connection(self._url)
            body = urlencode(_GRANT).encode("ascii")
            headers = {
                "Authorization": "Basic "
                + base64.b64encode(":".join(self._auth).encode()).decode("ascii"),
                "Content-Type": "application/x-www-form-urlencoded",
                "Content-Length": str(len(body)),
            }
            try:
                request = connection.request("POST", headers, body)
                status, content = await asyncio.wait_for(request, TIMEOUT_SECONDS)
            finally:
                connection.close()
            if status != 200:
                raise requests.HTTPError(f"the token endpoint answered {status}")
            self._keep(json.loads(content))
        return self._token

    def _keep(self, granted: dict[str, Any]) -> None:
        self._token = granted["access_token"]
        self._renew_at = self._clock.time() + granted["expires_in"] * (1 - NAIVE_MARGIN)
