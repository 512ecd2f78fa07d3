"""A token endpoint on loopback that grants everything."""

from kit.servers.base import Answer, LoopbackServer

GRANT = {"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}


class Recording(LoopbackServer):
    """A token endpoint whose ``reply``, a status and a document, tests may change at any time."""

    def __init__(self):
        super().__init__()
        self.reply = (200, GRANT)
        self.token_url = f"{self.origin}/token"

    def answer(self, request):
        return Answer(*self.reply)
