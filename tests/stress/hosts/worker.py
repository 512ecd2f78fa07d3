"""What a service does in these tests: it gets a token, and calls an API with it."""

import os

import urllib3

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, get_default_keeper

keeper = get_default_keeper()  # at module level, before any fork
keeper.add_provider(
    GenericOAuth2Provider(
        OAuth2Config("api", "worker", "worker-secret", os.environ["TOKEN_URL"], "read")
    )
)
if os.environ.get("WARM"):
    keeper.get_token("api")


def call():
    """Call the API; return the process, the token and the API's answer."""
    token = keeper.get_token("api")
    headers = {"Authorization": f"Bearer {token}"}
    answer = urllib3.request("GET", os.environ["API_URL"], headers=headers, timeout=30)
    return os.getpid(), token, answer.status
