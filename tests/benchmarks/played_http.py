"""HTTP without a network: every request of this process is answered immediately, in the process.

Everything above ``HTTPAdapter.send`` is unchanged: each library makes its own sessions and
requests, and parses the answers.
"""

import json
from io import BytesIO

from endpoint import PADDING, TENANT, Endpoint


def client(number):
    """Return the registration of client *number*. Each client has its own server."""
    return Endpoint(f"https://id-{number}.example.com", "/no/file", f"client-{number}")


def play():
    """Answer all requests of this process from now on."""
    from requests.adapters import HTTPAdapter

    HTTPAdapter.send = _send


TOKEN_LENGTH = 20 + len(PADDING)


def _send(self, request, **_):
    """Answer as the token endpoint of each tenant, and with its discovery document."""
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
