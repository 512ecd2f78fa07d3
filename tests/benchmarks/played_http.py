"""HTTP without a network: in this process every request is answered at once, and by us.

What lies above ``HTTPAdapter.send`` stays as it is: each library makes its sessions, its requests
and its sense of the answers.
"""

import json
from io import BytesIO

from endpoint import PADDING, TENANT, Endpoint


def client(number):
    """Return the registration of one client of many, each at a server of its own."""
    return Endpoint(f"https://id-{number}.example.com", "/no/file", f"client-{number}")


def play():
    """Let no request leave this process from now on."""
    from requests.adapters import HTTPAdapter

    HTTPAdapter.send = _send


TOKEN_LENGTH = 20 + len(PADDING)


def _send(self, request, **_):
    """Be the token endpoint of each tenant, and its discovery document."""
    import requests
    from urllib3 import HTTPResponse

    base = request.url[: request.url.index("/", len("https://"))]
    if request.method == "POST":
        number = int(base.partition("-")[2].partition(".")[0])
        token = f"{number:020d}{PADDING}"
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
    else:
        answer = {
            "issuer": f"{base}/{TENANT}/v2.0",
            "authorization_endpoint": f"{base}/{TENANT}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/{TENANT}/oauth2/v2.0/token",
        }
    response = requests.Response()
    response.status_code = 200
    response.headers["Content-Type"] = "application/json"
    response.url, response.request = request.url, request
    body = BytesIO(json.dumps(answer).encode())
    response.raw = HTTPResponse(body, status=200, preload_content=False)
    return response
