"""A server that tests start, register clients with, and call the API of."""

import urllib3

from kit.servers.launch import Launched
from tokenkeeper import OAuth2Config

SECONDS = 30.0  # a server that has not answered by then never will
SECRET = "a-secret-that-nothing-shows"


class Administered(Launched):
    """A started server, whose ``/admin`` paths are for tests only.

    :ivar clients: the secret of each registered client.
    """

    def __init__(self, *command, **options):
        super().__init__(*command, **options)
        self.http = urllib3.PoolManager(maxsize=64, timeout=SECONDS)
        self.clients = {}

    @property
    def token_endpoint(self):
        """The URL of the token endpoint."""
        return self.about["token_endpoint"]

    def add_client(self, client_id, client_secret=SECRET, **registration):
        """Register a client, or replace its registration."""
        client = {"client_id": client_id, "client_secret": client_secret, **registration}
        self.admin("POST", "clients", client)
        self.clients[client_id] = client_secret

    def stats(self, client_id):
        """Return the counts of a client; a missing count is 0."""
        return Counts(self.admin("GET", "stats").get(client_id, {}))

    def config(self, name, client_id="worker", **options):
        """Return the registration of *client_id*, for a provider called *name*."""
        fields = {
            "client_secret": self.clients.get(client_id, SECRET),
            "token_url": self.token_endpoint,
            "scope": "read",
            **options,
        }
        return OAuth2Config(name, client_id, **fields)

    def call(self, token):
        """Call the API with *token*; return the status and the JSON of the answer."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = self.http.request("GET", self.issuer + "/resource", headers=headers)
        return answer.status, answer.json()

    def stop(self):
        """Stop the server, and close the connections to it."""
        super().stop()
        self.http.clear()

    def admin(self, method, what, body=None):
        """Request *what* from the server, and return the JSON of its answer."""
        answer = self.http.request(method, f"{self.issuer}/admin/{what}", json=body)
        assert answer.status == 200, answer.data
        return answer.json()


class Counts(dict):
    """Counts by name; a missing one is 0."""

    def __missing__(self, name):
        return 0
