"""An authorization server that is found by its metadata."""

import threading

from kit.guards import GUARD_SECONDS
from kit.servers.base import Answer, LoopbackServer

OAUTH = "/.well-known/oauth-authorization-server"
OPENID = "/.well-known/openid-configuration"


class IssuerServer(LoopbackServer):
    """Publishes the metadata of issuers, and grants tokens at every other path.

    :ivar published: the answer at each path, or a list of answers of which the last one stays.
    :ivar granted: the answer to token requests.
    :ivar gate: requests for metadata wait until it is set.
    """

    def __init__(self, **options):
        self.published = {}
        self.granted = {"access_token": "a", "token_type": "Bearer", "expires_in": 3600}
        self.gate = threading.Event()
        self.gate.set()
        super().__init__(**options)

    def publish(self, path="", *, at=None, headers=None, **members):
        """Publish the metadata of the issuer with *path*, and return its identifier."""
        issuer = self.origin + path
        document = {"issuer": issuer, "token_endpoint": f"{self.origin}/token"} | members
        where = OAUTH + path.rstrip("/") if at is None else at
        self.published[where] = Answer(200, document, headers or {})
        return issuer

    def answer(self, request):
        if request.method == "POST":
            return Answer(200, self.granted)
        assert self.gate.wait(GUARD_SECONDS)
        found = self.published.get(request.target, Answer(404))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found

    @property
    def metadata_requests(self):
        """The paths of the requests for metadata, in order."""
        return [each.target for each in self.received if each.method == "GET"]

    @property
    def token_requests(self):
        """The paths of the token requests, in order."""
        return [each.target for each in self.received if each.method == "POST"]
