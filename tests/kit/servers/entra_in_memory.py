"""Entra ID as an adapter of requests: under any host name, and without a connection."""

import io
import json
from urllib.parse import parse_qsl, urlsplit

import requests


class EntraInMemory(requests.adapters.BaseAdapter):
    """Answers each token request with a token that names the subject. Mount it in a session.

    :ivar requests: the host and the parameters of each token request.
    :ivar region: the region in which the machine says that it is; ``None`` if it says nothing.
    :ivar asked_machine: how often it was asked.
    """

    def __init__(self):
        super().__init__()
        self.requests = []
        self.region = None
        self.asked_machine = 0

    def session(self):
        """Return a session whose requests all come here."""
        session = requests.Session()
        session.mount("https://", self)
        session.mount("http://", self)
        return session

    def send(self, request, **options):
        url = urlsplit(request.url)
        response = requests.Response()
        response.status_code = 200
        if url.hostname == "169.254.169.254":
            self.asked_machine += 1
            if self.region is None:
                raise requests.ConnectionError
            content = {"location": self.region}
        elif request.method == "GET":
            tenant = url.path.split("/")[1]
            base = f"https://{url.netloc}/{tenant}"
            content = {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": f"{base}/oauth2/v2.0/token",
            }
        else:
            form = dict(parse_qsl(request.body))
            self.requests.append((url.netloc, form))
            token = f"for-{form.get('assertion', 'itself')}"
            content = {"access_token": token, "token_type": "Bearer", "expires_in": 3599}
        response.raw = io.BytesIO(json.dumps(content).encode())
        return response

    def close(self):
        pass
