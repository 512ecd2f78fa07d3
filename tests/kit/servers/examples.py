"""Replaces the servers that documented examples name. No test may reach their addresses.

Run before an example, in the same interpreter.
"""

import json

import responses


def grant(_):
    token = {"access_token": "abcd1234", "token_type": "Bearer", "expires_in": 3600}
    return 200, {}, json.dumps(token)


TENANT = "https://login.microsoftonline.com/contoso.onmicrosoft.com"

mock = responses.RequestsMock(assert_all_requests_are_fired=False)
mock.add_passthru("http://127.0.0.1")
mock.add_passthru("https://127.0.0.1")
mock.add_callback("POST", "https://id.example.com/oauth2/token", grant)
mock.add_callback("POST", f"{TENANT}/oauth2/v2.0/token", grant)
mock.add(
    "GET",
    f"{TENANT}/v2.0/.well-known/openid-configuration",
    json={
        "issuer": f"{TENANT}/v2.0",
        "authorization_endpoint": f"{TENANT}/oauth2/v2.0/authorize",
        "token_endpoint": f"{TENANT}/oauth2/v2.0/token",
    },
)
mock.add(
    "GET",
    "https://id.example.com/.well-known/oauth-authorization-server/tenant1",
    json={
        "issuer": "https://id.example.com/tenant1",
        "token_endpoint": "https://id.example.com/oauth2/token",
    },
)
mock.start()
