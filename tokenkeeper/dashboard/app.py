"""The dashboard as an ASGI application: three routes, all of which only read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tokenkeeper._support.checks import checked_seconds, checked_text
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.dashboard.headers import SecurityHeaders
from tokenkeeper.dashboard.page import STATIC, Document, data, page, static_file
from tokenkeeper.dashboard.snapshots import Snapshot, Snapshots
from tokenkeeper.stores.base import TokenStore
from tokenkeeper.stores.settings import StoreSettings, opened

__all__ = ["dashboard"]


def dashboard(
    store: str | Mapping[str, Any] | TokenStore | StoreSettings,
    *,
    title: str = "Tokenkeeper",
    refresh_seconds: float = 2.0,
) -> ASGIApp:
    """Return an ASGI application with a read-only web page over a store, for people on call.

    Mount it behind your own login: it has none. It shows which tokens a fleet has, where each is in
    its life, which process renewed it last, and why requests fail. It contains no token, secret or
    account. It works under any path, and needs no lifespan events.

    The store is read while somebody looks, and once for all viewers. While it is unavailable, the
    page says why, and shows the last known state. Nothing is claimed, published or forgotten.

    :param store: what ``TokenKeeper(store=...)`` accepts: a URL, a mapping with ``url`` and
        ``key_file``, or a ``TokenStore``.
    :param title: the heading of the page; "Tokenkeeper" by default.
    :param refresh_seconds: how often the page is refreshed, in seconds; 2 by default. A store that
        takes long to read is read less often.
    :raises InvalidConfigurationError: naming everything that is wrong with *store*.
    """
    seconds = checked_seconds(refresh_seconds, "refresh_seconds")
    return application(opened(store), checked_text(title, "title"), seconds, SYSTEM_CLOCK)


def application(
    settings: StoreSettings, title: str, refresh_seconds: float, clock: Clock
) -> ASGIApp:
    """Return the application for an opened store."""

    def render(snapshot: Snapshot) -> tuple[Document, Document]:
        return (
            Document.of(page(snapshot, title, refresh_seconds)),
            Document.of(data(snapshot, title)),
        )

    snapshots = Snapshots(settings, clock, refresh_seconds, render)

    async def show_page(request: Request) -> Response:
        return _response(request, (await snapshots.current())[0], "text/html")

    async def show_data(request: Request) -> Response:
        return _response(request, (await snapshots.current())[1], "application/json")

    async def show_static(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        return Response(static_file(name), headers={"Content-Type": STATIC[name]})

    app = Starlette(
        routes=[
            Route("/", show_page),
            Route("/data.json", show_data),
            Route("/static/{name}", show_static),
        ]
    )
    app.router.redirect_slashes = False
    return SecurityHeaders(_WithSlash(app))


def _response(request: Request, document: Document, media_type: str) -> Response:
    headers = {"Content-Type": f"{media_type}; charset=utf-8", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(document.compressed, headers={**headers, "Content-Encoding": "gzip"})
    return Response(document.plain, headers=headers)


class _WithSlash:
    """Redirects from the mount path itself, such as "/tokens", where relative links would fail."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        mount_path = scope.get("root_path", "")
        if scope["type"] == "http" and scope["path"] in ("", mount_path):
            app = RedirectResponse(f"{mount_path.rpartition('/')[2]}/")
        await app(scope, receive, send)
