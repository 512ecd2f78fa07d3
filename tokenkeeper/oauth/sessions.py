"""The sessions of requests that carry secrets: ours, and those that callers hand in.

A session goes nowhere but where it is sent, keeps nothing of it, and reads no more than a token's
answer may be long, nor for longer than the request may take.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.exceptions
from requests.cookies import RequestsCookieJar, merge_cookies
from requests.structures import CaseInsensitiveDict

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper.oauth.deadline import Budget, bind, current_budget
from tokenkeeper.oauth.environment import current_environment
from tokenkeeper.oauth.network_errors import TooLongError
from tokenkeeper.oauth.prepared import prepared_request
from tokenkeeper.oauth.request_style import USER_AGENT

__all__ = ["borrowed", "give_back", "our_session", "read"]

LONGEST_BODY = 1024 * 1024
"""Bytes, after decoding. A token takes a few thousand; what is longer is an attack or a mistake."""

MOST_IDLE_SESSIONS = 32
"""As many as a keeper has workers."""

_PIECE = 64 * 1024

_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "keep-alive",
}

_BOUNDED_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
"""What zlib unpacks in small pieces. No other encoding was asked for, nor two at once."""


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Sends requests, each inside a :class:`Budget`. Thread-safe, as its base is."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        bind(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pools of connections by way of *proxy*."""
        return _proxy_manager_for(super().proxy_manager_for, proxy, **kwargs)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        """Send *request*, straight to its host where it is not encrypted."""
        return super().send(request, *args, **_direct(request, options))


class _BorrowedAdapter(requests.adapters.BaseAdapter):
    """Sends by an adapter of the caller's, and reads the answer before anybody else can."""

    def __init__(self, adapter: requests.adapters.BaseAdapter) -> None:
        super().__init__()
        self._adapter = _bounded(adapter)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        """Send *request* and read its answer, whatever *options* say about that."""
        options["stream"] = True
        response = self._adapter.send(request, *args, **_direct(request, options))
        response._content = read(response, current_budget())  # noqa: SLF001 - nothing public sets it
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        return response

    def close(self) -> None:
        """Leave the caller's adapter open."""


def _direct(request: requests.PreparedRequest, options: dict[str, Any]) -> dict[str, Any]:
    """Return *options* without a proxy for what is not encrypted.

    That is allowed to go to this machine alone, where it meets nobody on the way.
    """
    if (request.url or "").lower().startswith("http:"):
        options["proxies"] = {}
    return options


def _bounded(adapter: requests.adapters.BaseAdapter) -> requests.adapters.BaseAdapter:
    """Return a copy of *adapter* whose connections keep to the budget, and are used once.

    It tries once: how often a request is repeated is a matter of the keeper's policy. An adapter
    with connections of its own stays as it is.
    """
    manager = getattr(adapter, "poolmanager", None)
    if not isinstance(adapter, requests.adapters.HTTPAdapter) or not isinstance(
        manager, urllib3.PoolManager
    ):
        return adapter
    twin: Any = _twin(adapter)
    twin.max_retries = urllib3.Retry(0, read=False)
    twin.poolmanager = copy.copy(manager)
    twin.poolmanager.pools = type(manager.pools)(8)
    bind(twin.poolmanager)
    twin.proxy_manager = {}
    make = twin.proxy_manager_for
    twin.proxy_manager_for = lambda proxy, **kwargs: _proxy_manager_for(make, proxy, **kwargs)
    return twin  # type: ignore[no-any-return]


def _proxy_manager_for(make: Any, proxy: str, **kwargs: Any) -> Any:
    manager = make(proxy, **kwargs)
    bind(manager)
    return manager


def _twin(original: Any) -> Any:
    """Return another object with the same attributes, whatever its class wants to be made."""
    twin = object.__new__(type(original))
    twin.__dict__.update(original.__dict__)
    return twin


def borrowed(session: requests.Session) -> requests.Session:
    """Return a session for one request, with all the settings of a caller's *session*.

    The caller's own is not changed: headers, hooks, proxies, certificates and adapters are taken
    from it; cookies of the server and connections are not left in it, and no redirect is followed.
    Anything that is not a session of requests is returned as it is.
    """
    if not issubclass(type(session), requests.Session):
        return session
    twin: requests.Session = _twin(session)
    twin.adapters = OrderedDict(
        (prefix, _BorrowedAdapter(adapter)) for prefix, adapter in session.adapters.items()
    )
    # The caller's cookies go along; what the server sets goes into this jar, and away with it.
    twin.cookies = merge_cookies(RequestsCookieJar(), session.cookies)  # type: ignore[no-untyped-call]
    twin.get_redirect_target = _no_target  # type: ignore[method-assign]
    return twin


def _no_cookies() -> DefaultCookiePolicy:
    return DefaultCookiePolicy(allowed_domains=[])


def _no_target(resp: requests.Response) -> None:
    """Return nothing, so that requests neither follows a redirect nor prepares to.

    Even with ``allow_redirects=False`` requests prepares the next request for who may want
    it, and for that reads the whole body of the answer, however long it may become.
    """


class _Session(requests.Session):
    """Sends each request to its URL and nowhere else, and keeps no cookie and no connection."""

    def __init__(self) -> None:
        super().__init__()
        self.cookies.set_policy(_no_cookies())
        for scheme in ("https://", "http://"):
            self.mount(scheme, DeadlineAdapter())
        self.get_redirect_target = _no_target  # type: ignore[method-assign]

    def request(  # type: ignore[override]  # as much of it as our own requests need
        self,
        method: str,
        url: str,
        *,
        auth: Callable[[requests.PreparedRequest], requests.PreparedRequest],
        headers: Mapping[str, str],
        data: Mapping[str, Any] | bytes | str | None = None,
        params: Mapping[str, Any] | None = None,
        verify: bool | str | None = None,
        **options: Any,
    ) -> requests.Response:
        """Send a request."""
        all_headers = CaseInsensitiveDict({**_HEADERS, **headers})
        request = prepared_request(method, url, params=params, data=data, headers=all_headers)
        settings = self.merge_environment_settings(url, None, None, verify, None)
        return self.send(auth(request), **settings, **options)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Return the proxies and the CA that the environment sets for *url*."""
        environment = current_environment()
        key = environment.bypasses_proxies(url), verify
        settings = environment.settings.get(key)
        if settings is None:
            found = super().merge_environment_settings(url, {}, None, verify, None)
            settings = {name: found[name] for name in ("proxies", "verify", "cert")}
            environment.settings[key] = settings
        return settings


class _OurSessions:
    """The sessions of this process that make no request at the moment. Thread-safe.

    A session makes one request at a time, as an exception that a host throws into a thread can
    leave a lock held: in the jar of cookies, or in a pool's queue of connections. Such a session
    is not given back, and holds up nobody.
    """

    def __init__(self) -> None:
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Leave the parent's locks to the parent."""
        self.idle: list[_Session] = []


_ours = _OurSessions()


def our_session() -> requests.Session:
    """Return a session for one request."""
    try:
        return _ours.idle.pop()
    except IndexError:
        return _Session()


def give_back(session: requests.Session) -> None:
    """Keep *session*, which has made its request and was not interrupted, for the next one."""
    if isinstance(session, _Session) and len(_ours.idle) < MOST_IDLE_SESSIONS:
        _ours.idle.append(session)


def read(response: requests.Response, budget: Budget) -> bytes:
    """Return the body of *response*, which is read in pieces.

    A short compressed one may become very long.

    :raises TooLongError: for more than :data:`LONGEST_BODY`.
    """
    if isinstance(getattr(response, "_content", False), bytes):
        return response.content  # an adapter has read it
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _BOUNDED_ENCODINGS:
        raise urllib3.exceptions.DecodeError("an encoding that was not asked for")
    pieces = bytearray()
    for piece in _pieces(response, budget):
        pieces += piece
        if len(pieces) > LONGEST_BODY:
            with suppress(OSError):
                response.raw.close()  # the rest is not worth reading to use the connection again
            raise TooLongError
    return bytes(pieces)


def _pieces(response: requests.Response, budget: Budget) -> Iterator[bytes]:
    raw = response.raw
    if isinstance(raw, urllib3.BaseHTTPResponse):
        budget.next_read()
        while piece := raw.read1(_PIECE, decode_content=True):
            yield piece
            budget.next_read()
    else:  # what plays a response in tests
        for piece in response.iter_content(_PIECE):
            yield piece
            budget.next_read()
