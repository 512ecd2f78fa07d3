"""The endpoints at which services in Azure ask for the tokens of their managed identities."""

import time
from collections import deque

from kit.servers.base import Answer, LoopbackServer

VARIABLES = (
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
)


class IdentityEndpoint(LoopbackServer):
    """Answers each request with a token, as the host that the request is meant for does.

    :ivar script: the answers to the next requests, in order.
    :ivar identity: further members of the usual answer, such as ``client_id``.
    :ivar key_file: where the agent of Azure Arc writes a key for each request; ``None`` if this
        is another host.
    """

    def __init__(self, **options):
        self.script = deque()
        self.identity = {}
        self.key_file = None
        super().__init__(**options)

    def answer(self, request):
        if self.script:
            return self.script.popleft()
        if self.key_file is not None:
            expected = f"Basic {self.key_file.read_text().strip()}"
            if request.headers.get("authorization") != expected:
                return Answer(401, b"", {"WWW-Authenticate": f"Basic realm={self.key_file}"})
        number = len(self.received)
        return Answer(200, granted(number) | self.identity)


def granted(number, life=86_400):
    """Return a token as the hosts write it: all values are strings."""
    return {
        "access_token": f"identity-{number}",
        "expires_on": str(int(time.time()) + life),
        "resource": "https://storage.azure.com",
        "token_type": "Bearer",
    }
