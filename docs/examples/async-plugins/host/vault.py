"""A provider of our own, written with ``async def``."""

import asyncio
from datetime import UTC, datetime, timedelta

from tokenkeeper import BaseOAuth2Provider, OAuth2Token


class VaultProvider(BaseOAuth2Provider):
    """Gets tokens from a vault."""

    requests = 0

    async def acquire_token(self) -> OAuth2Token:
        await asyncio.sleep(0.05)  # await your vault's client here
        self.requests += 1
        expires_at = datetime.now(UTC) + timedelta(hours=1)
        return OAuth2Token(f"vault-token-{self.requests}", "Bearer", expires_at)
