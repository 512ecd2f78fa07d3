"""A stub of OpenAI's API that checks tokens."""

import pytest
from kit.servers.model_api import ModelApi


@pytest.fixture
def api(server):
    """Return the API, which accepts the tokens of the authorization server."""
    with ModelApi(server) as api:
        yield api
