"""The providers of the soak: the generic one over real HTTP, and a custom async one."""

import asyncio
import json
import threading
from base64 import b64encode
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import quote

from soak.server import CLIENT_ID, CLIENT_SECRET
from soak.truth import boot, truth_of
from tokenkeeper import (
    BaseOAuth2Provider,
    GenericOAuth2Provider,
    OAuth2Config,
    OAuth2Token,
    TokenAcquisitionError,
)
from tokenkeeper.retry import RetryPolicy

REQUEST_SECONDS = 0.5
"""A lifetime of three seconds leaves no time to wait longer for a server that stalls."""

EAGER = RetryPolicy(initial_wait_seconds=0.1, max_wait_seconds=0.4, background_wait_seconds=0.4)
"""For tokens of three seconds. Every third provider has the default policy instead."""


class WatchedProvider(GenericOAuth2Provider):
    """The generic provider, with a watch on each of its requests."""

    def __init__(self, name, url, watch, **options):
        config = OAuth2Config(name, CLIENT_ID, CLIENT_SECRET, url, scope="read")
        super().__init__(
            config,
            connect_timeout=REQUEST_SECONDS,
            read_timeout=REQUEST_SECONDS,
            total_timeout=2 * REQUEST_SECONDS,
            **options,
        )
        self.watch = watch
        self._began = threading.local()  # when this thread's attempt began

    def acquire_token(self):
        with self._attempt():
            return super().acquire_token()

    def refresh_token(self, token):
        with self._attempt():
            return super().refresh_token(token)

    @contextmanager
    def _attempt(self):
        # After a failed refresh the grant belongs to the same attempt, and the keeper counts the
        # token's lifetime from the beginning of that attempt.
        outer = getattr(self._began, "at", None)
        self._began.at = boot() if outer is None else outer
        try:
            yield
        finally:
            self._began.at = outer

    def _request(self, *arguments):
        with self.watch.request(self._began.at) as granted:
            token = super()._request(*arguments)
            granted(token.access_token)
            return token


class OwnProvider(BaseOAuth2Provider):
    """A provider as a user may write it with ``async def``: no lock, no retries, raw errors.

    :param looks_late: whether it reads the wall clock after the answer, not before the request.
    """

    def __init__(self, name, issuer, path, watch, *, clock, retry, looks_late):
        super().__init__(name, retry=retry)
        self._address = issuer.rpartition("/")[2].split(":")
        self._path = path
        self._clock = clock
        self._looks_late = looks_late
        self.watch = watch

    @property
    def acquire_token(self):
        """The coroutine function. An attempt looks it up at its beginning, on a worker."""
        self._began = boot()
        return self._acquire_token

    async def _acquire_token(self):
        # On a busy machine it runs on the loop a while after the keeper has read its clock.
        with self.watch.request(self._began) as granted:
            before, wall = boot(), self._clock.time()
            async with asyncio.timeout(REQUEST_SECONDS):
                status, content = await self._post()
            if status != 200:
                raise TokenAcquisitionError(f"HTTP {status}", status_code=status)
            answer = json.loads(content)
            token = answer["access_token"]
            if truth_of(token) is None:
                raise ValueError("this is not a token")
            granted(token)
            if self._looks_late:
                wall = self._clock.time() - (boot() - before)
            ends = datetime.fromtimestamp(wall + float(answer["expires_in"]), UTC)
            return OAuth2Token(token, "Bearer", ends)

    async def _post(self):
        reader, writer = await asyncio.open_connection(*self._address)
        try:
            body = "grant_type=client_credentials"
            writer.write(
                f"POST {self._path} HTTP/1.1\r\nHost: soak\r\nContent-Length: {len(body)}\r\n"
                f"Authorization: {_basic()}\r\n\r\n{body}".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = head.partition("Content-Length: ")[2].partition("\r\n")[0]
            return int(head.split(" ")[1]), await reader.readexactly(int(length))
        except asyncio.IncompleteReadError:
            raise ConnectionError("the server hung up") from None
        finally:
            writer.close()


def _basic():
    pair = f"{quote(CLIENT_ID, safe='')}:{quote(CLIENT_SECRET, safe='')}"
    return "Basic " + b64encode(pair.encode()).decode()


def make_provider(number, server, watch, clock, *, own, sites):
    """Return provider *number*. Its options differ from those of its neighbours.

    :param own: whether to create the custom async provider.
    """
    name = f"{'own' if own else 'generic'}-{number:02}"
    if number % 4 == 1 and not own:
        name += "-refreshed"  # tells the server to send refresh tokens
    return make_named(name, number, server, watch, clock, own=own, sites=sites)


def make_named(name, number, server, watch, clock, *, own=False, sites):
    """Return the provider *name*."""
    retry = None if number % 3 == 2 else EAGER
    path = f"/{number % sites}/{name}"
    if own:
        late = number % 2 == 1
        return OwnProvider(
            name, server.issuer, path, watch, clock=clock, retry=retry, looks_late=late
        )
    methods = ("client_secret_basic", "client_secret_post")
    return WatchedProvider(
        name,
        server.issuer + path,
        watch,
        token_endpoint_auth_method=methods[number % 2],
        refresh_tokens=True,
        clock=clock,
        retry=retry,
    )
