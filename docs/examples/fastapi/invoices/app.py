"""The application, and what lives as long as it does."""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.middleware.sessions import SessionMiddleware

from invoices import customers, routes
from tokenkeeper import get_default_manager
from tokenkeeper.integrations.httpx import KeeperAuth

HUBSPOT_API = os.environ.get("HUBSPOT_API", "https://api.hubapi.com")
SESSION_SECRET = os.environ.get("SESSION_SECRET", "only for tests")


@asynccontextmanager
async def lifespan(app):
    """Open HTTP clients. The one for the billing API adds the token to each request."""
    tokens = get_default_manager()  # asked for at startup, so that tests can set another one
    auth = KeeperAuth(tokens.keeper, "billing", timeout=10)
    async with (
        httpx.AsyncClient(base_url=os.environ["BILLING_API"], auth=auth) as billing,
        httpx.AsyncClient(base_url=HUBSPOT_API) as hubspot,
    ):
        app.state.tokens = tokens
        app.state.billing = billing
        app.state.hubspot = hubspot
        yield


def create_app():
    """Return the application."""
    app = FastAPI(lifespan=lifespan)
    app.add_middleware(SessionMiddleware, secret_key=SESSION_SECRET)
    app.include_router(routes.router)
    app.include_router(customers.router)
    return app
