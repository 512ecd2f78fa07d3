"""The client "billing", registered at a test server that also plays the billing API."""

import pytest


@pytest.fixture
def billing(keeper, token_server, monkeypatch):
    keeper.add_provider(token_server.provider("billing"))
    monkeypatch.setenv("BILLING_API", f"{token_server.issuer}/api")
    return token_server
