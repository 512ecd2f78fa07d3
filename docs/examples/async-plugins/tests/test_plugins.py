import pytest

from host.__main__ import run
from host.vault import VaultProvider
from plugins import reports
from tokenkeeper.testing import AsyncMockProvider


def test_plugins_share_a_token(token_manager):
    vault = VaultProvider("vault")
    token_manager.add_provider(vault)
    seen = run(token_manager, ("reports", "alerts"))
    assert seen == {"reports": {"vault-token-1"}, "alerts": {"vault-token-1"}}
    assert vault.requests == 1


@pytest.mark.anyio
async def test_a_plugin_alone(token_manager):
    token_manager.add_provider(AsyncMockProvider("vault", script=["a-token"]))
    assert await reports.work(token_manager) == {"a-token"}


@pytest.fixture
def anyio_backend():
    return "asyncio"
