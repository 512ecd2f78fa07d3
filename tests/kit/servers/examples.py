"""Replaces the servers that documented examples name. No test may reach their addresses.

Run before an example, in the same interpreter.
"""

import json

import responses


def grant(request):
    kind = "DPoP" if "DPoP" in request.headers else "Bearer"
    token = {"access_token": "abcd1234", "token_type": kind, "expires_in": 3600}
    return 200, {}, json.dumps(token)


def bound(request):
    """Answer for an API that takes bound tokens, with its nonce in the proof."""
    from kit.servers.dpop import opened  # only for examples with such a token

    assert request.headers["Authorization"] == "DPoP abcd1234"
    _, claims = opened(request.headers["DPoP"])
    assert claims["htu"] == request.url
    if claims.get("nonce") == "nonce-1":
        return 200, {"DPoP-Nonce": "nonce-1"}, "[]"
    challenge = 'DPoP error="use_dpop_nonce", algs="ES256"'
    return 401, {"DPoP-Nonce": "nonce-1", "WWW-Authenticate": challenge}, ""


DEVICE = {
    "device_code": "a-device-code",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example.com/device",
    "expires_in": 600,
    "interval": 1,
}
CIBA = {"auth_req_id": "a-request", "expires_in": 120, "interval": 1}

TENANT = "https://login.microsoftonline.com/contoso.onmicrosoft.com"

mock = responses.RequestsMock(assert_all_requests_are_fired=False)
mock.add_passthru("http://127.0.0.1")
mock.add_passthru("https://127.0.0.1")
mock.add_callback("POST", "https://id.example.com/oauth2/token", grant)
mock.add("POST", "https://id.example.com/oauth2/revoke")
mock.add("POST", "https://id.example.com/oauth2/introspect", json={"active": True, "scope": "read"})
mock.add("POST", "https://id.example.com/oauth2/device", json=DEVICE)
mock.add("POST", "https://id.example.com/oauth2/ciba", json=CIBA)
mock.add_callback("POST", f"{TENANT}/oauth2/v2.0/token", grant)
mock.add_callback("GET", "https://bank.example.com/accounts", bound)
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
