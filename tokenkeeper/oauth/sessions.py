"""Sessions for requests that carry secrets: the library's own, and copies of callers' sessions.

A session follows no redirect and stores no cookie and no connection. It limits the length of a
response, and the time to read it.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

import requests
import requests.adapters
import urllib3
import urllib3.exceptions
from requests.cookies import RequestsCookieJar, merge_cookies
from requests.structures import CaseInsensitiveDict

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper.oauth.client_proof import ClientCertificate
from tokenkeeper.oauth.client_tls import let_present, paths_of
from tokenkeeper.oauth.deadline import Budget, bind, current_budget
from tokenkeeper.oauth.environment import current_environment
from tokenkeeper.oauth.network_errors import TooLongError
from tokenkeeper.oauth.prepared import prepared_request
from tokenkeeper.oauth.request_style import USER_AGENT

__all__ = ["borrowed", "give_back", "our_session", "read"]

LONGEST_BODY = 1024 * 1024
"""In bytes, after decoding. A token response has a few thousand; more is an attack or a mistake."""

MOST_IDLE_SESSIONS = 32
"""As many as the workers of a keeper, by default."""

_PIECE = 64 * 1024

_HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "keep-alive",
}

_BOUNDED_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
"""Encodings that zlib decodes in small pieces. The library requests none but ``identity``."""


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Sends each request within a :class:`Budget`. Thread-safe, as its base class is."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        bind(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the pools of connections through *proxy*, created if need be."""
        return _proxy_manager_for(super().proxy_manager_for, proxy, **kwargs)

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        """Send *request*, without a proxy if it is not encrypted."""
        return super().send(request, *args, **_direct(request, options))


class _BorrowedAdapter(requests.adapters.BaseAdapter):
    """Sends through a caller's adapter, and reads the response before any hook can."""

    def __init__(self, adapter: requests.adapters.BaseAdapter) -> None:
        super().__init__()
        self._adapter = _bounded(adapter)
        self._is_foreign = self._adapter is adapter

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        """Send *request* and read its response, even if *options* ask for a stream."""
        options["stream"] = True
        if self._is_foreign:
            options["cert"] = paths_of(options.get("cert"))
        response = self._adapter.send(request, *args, **_direct(request, options))
        response._content = read(response, current_budget())  # noqa: SLF001 - nothing public sets it
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        return response

    def close(self) -> None:
        """Leave the caller's adapter open."""


def _direct(request: requests.PreparedRequest, options: dict[str, Any]) -> dict[str, Any]:
    """Return *options*, without proxies if *request* is not encrypted.

    Such a request may only go to this machine, and no other machine may see it.
    """
    if (request.url or "").lower().startswith("http:"):
        options["proxies"] = {}
    return options


def _bounded(adapter: requests.adapters.BaseAdapter) -> requests.adapters.BaseAdapter:
    """Return a copy of *adapter* whose connections are used once, within the budget.

    The copy does not retry, because the keeper does. An adapter that does not use urllib3 is
    returned unchanged.
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
    let_present(twin)
    return twin  # type: ignore[no-any-return]


def _proxy_manager_for(make: Any, proxy: str, **kwargs: Any) -> Any:
    manager = make(proxy, **kwargs)
    bind(manager)
    return manager


def _twin(original: Any) -> Any:
    """Return a shallow copy of *original* without calling its class."""
    twin = object.__new__(type(original))
    twin.__dict__.update(original.__dict__)
    return twin


def borrowed(session: requests.Session) -> requests.Session:
    """Return a session for one request, with the settings of a caller's *session*.

    It has the same headers, hooks, proxies, certificates, adapters and cookies. The caller's
    session is not changed: it receives no cookie and no connection. No redirect is followed. An
    object that is not a ``requests.Session`` is returned unchanged.
    """
    if not issubclass(type(session), requests.Session):
        return session
    twin: requests.Session = _twin(session)
    twin.adapters = OrderedDict(
        (prefix, _BorrowedAdapter(adapter)) for prefix, adapter in session.adapters.items()
    )
    # The caller's cookies are sent; those that the server sets are dropped with this copy.
    twin.cookies = merge_cookies(RequestsCookieJar(), session.cookies)  # type: ignore[no-untyped-call]
    twin.get_redirect_target = _no_target  # type: ignore[method-assign]
    return twin


def _no_cookies() -> DefaultCookiePolicy:
    return DefaultCookiePolicy(allowed_domains=[])


def _no_target(resp: requests.Response) -> None:
    """Return ``None``, so that requests neither follows a redirect nor prepares to.

    Even with ``allow_redirects=False``, requests prepares the next request, and first reads the
    whole body of the response, however long it is.
    """


class _Session(requests.Session):
    """A session that follows no redirect, and stores no cookie and no connection."""

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
        cert: ClientCertificate | None = None,
        **options: Any,
    ) -> requests.Response:
        """Send a request."""
        all_headers = CaseInsensitiveDict({**_HEADERS, **headers})
        request = prepared_request(method, url, params=params, data=data, headers=all_headers)
        settings = self.merge_environment_settings(url, None, None, verify, None)
        if cert is not None:  # not among the settings, which are remembered
            settings = {**settings, "cert": cert}
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


class _OneClientSession(_Session):
    """A session for one request. It is not kept, as its pools have the client's certificate."""

    def __init__(self) -> None:
        super().__init__()
        for adapter in self.adapters.values():
            let_present(cast("DeadlineAdapter", adapter))


class _OurSessions:
    """The idle sessions of this process. Thread-safe.

    Each session makes one request at a time. An exception that a host throws into a thread can
    leave a lock of its session held, in the cookie jar or in a pool's queue. Such a session is not
    given back, so no other thread waits for that lock.
    """

    def __init__(self) -> None:
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Drop the parent's sessions, whose locks may be held."""
        self.idle: list[_Session] = []


_ours = _OurSessions()


def our_session(certificate: ClientCertificate | None = None) -> requests.Session:
    """Return a session for one request, which may present a *certificate*."""
    if certificate is not None:
        return _OneClientSession()
    try:
        return _ours.idle.pop()
    except IndexError:
        return _Session()


def give_back(session: requests.Session) -> None:
    """Keep *session* for another request. Call this only after an uninterrupted request."""
    if type(session) is _Session and len(_ours.idle) < MOST_IDLE_SESSIONS:
        _ours.idle.append(session)


def read(response: requests.Response, budget: Budget) -> bytes:
    """Return the body of *response*.

    It is decoded in pieces, because a short compressed body may become very long.

    :raises TooLongError: for more than :data:`LONGEST_BODY` bytes.
    """
    if isinstance(getattr(response, "_content", False), bytes):
        return response.content  # already read by an adapter
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in _BOUNDED_ENCODINGS:
        raise urllib3.exceptions.DecodeError("an encoding that was not requested")
    pieces = bytearray()
    for piece in _pieces(response, budget):
        pieces += piece
        if len(pieces) > LONGEST_BODY:
            with suppress(OSError):
                response.raw.close()  # without reading the rest
            raise TooLongError
    return bytes(pieces)


def _pieces(response: requests.Response, budget: Budget) -> Iterator[bytes]:
    raw = response.raw
    if isinstance(raw, urllib3.BaseHTTPResponse):
        budget.next_read()
        while piece := raw.read1(_PIECE, decode_content=True):
            yield piece
            budget.next_read()
    else:  # a stand-in for a response, in tests
        for piece in response.iter_content(_PIECE):
            yield piece
            budget.next_read()
