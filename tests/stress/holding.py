"""A token endpoint in a separate process that holds answers back, and its controls."""

import json
import os
import sys
import urllib.error
import urllib.request

from kit.processes import PATH
from kit.servers.launch import Launched

from tokenkeeper import GenericOAuth2Provider, OAuth2Config

FOREVER_SECONDS = 3600.0


class Held(Launched):
    """The running server, and what tests tell it to do."""

    def __init__(self):
        command = (sys.executable, "-m", "kit.servers.holding_server")
        super().__init__(*command, env={**os.environ, "PYTHONPATH": PATH})

    def provider(self, name):
        """Return the provider of the client called *name*, which waits for as long as it takes."""
        return GenericOAuth2Provider(
            OAuth2Config(name, name, "secret", f"{self.issuer}/token"),
            read_timeout=FOREVER_SECONDS,
            total_timeout=FOREVER_SECONDS,
        )

    def command(self, command, client):
        """Send *command* to the server."""
        self._open(f"/{command}/{client}", data=b"")

    def accepts(self, token):
        """Return whether the API accepts *token*."""
        try:
            self._open("/api", headers={"Authorization": f"Bearer {token}"})
        except urllib.error.HTTPError as refused:
            with refused:
                return False
        return True

    @property
    def requests(self):
        """The number of token requests, by client."""
        return self._open("/seen")["requests"]

    def holds(self, client):
        """Return whether a request of *client* is on the wire."""
        return self._open("/seen")["held"].get(client, 0) > 0

    def _open(self, path, **options):
        request = urllib.request.Request(self.issuer + path, **options)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)
