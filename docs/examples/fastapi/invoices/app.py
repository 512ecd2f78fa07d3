"""The application, and what lives as long as it does."""

import os
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI

from invoices.routes import router
from tokenkeeper import get_default_manager
from tokenkeeper.integrations.httpx import KeeperAuth


@asynccontextmanager
async def lifespan(app):
    """Open one HTTP client that adds the token to each request."""
    tokens = get_default_manager()  # asked for at startup, so that tests can set another one
    auth = KeeperAuth(tokens.keeper, "billing", timeout=10)
    async with httpx.AsyncClient(base_url=os.environ["BILLING_API"], auth=auth) as billing:
        app.state.tokens = tokens
        app.state.billing = billing
        yield


def create_app():
    """Return the application."""
    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    return app
