"""An authorization server with an API, whose clients the tests register."""

import urllib3

from kit.servers.launch import Launched
from tokenkeeper import OAuth2Config

SECONDS = 30.0  # after this time there will be no answer
SECRET = "a-secret-that-nothing-shows"


class Administered(Launched):
    """An authorization server that tests start and control under ``/admin``.

    :ivar clients: the secrets of the registered clients, by id.
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
        """Return the counts for a client; a name that was never counted has 0."""
        return Counts(self.admin("GET", "stats").get(client_id, {}))

    def config(self, name, client_id="worker", **options):
        """Return the configuration of *client_id* for a provider called *name*."""
        fields = {
            "client_secret": self.clients.get(client_id, SECRET),
            "token_url": self.token_endpoint,
            "scope": "read",
            **options,
        }
        return OAuth2Config(name, client_id, **fields)

    def call(self, token):
        """Call the API with *token*; return the status and the document."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = self.http.request("GET", self.issuer + "/resource", headers=headers)
        return answer.status, answer.json()

    def stop(self):
        """Stop the server, and close the connections to it."""
        super().stop()
        self.http.clear()

    def admin(self, method, path, body=None):
        """Send a request below ``/admin``; return the answer's document."""
        answer = self.http.request(method, f"{self.issuer}/admin/{path}", json=body)
        assert answer.status == 200, answer.data
        return answer.json()


class Counts(dict):
    """Counts by name; a name that was never counted has 0."""

    def __missing__(self, name):
        return 0
