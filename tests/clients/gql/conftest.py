"""A stub of a GraphQL server that checks tokens."""

import itertools

import pytest
from kit.servers.base import Answer, LoopbackServer


class GraphQLServer(LoopbackServer):
    """Answers every query with the same data.

    :ivar revoke_at: the number of the request at which all tokens are revoked; ``None`` for never.
    """

    def __init__(self, tokens):
        self.tokens = tokens
        self.revoke_at = None
        self._numbers = itertools.count(1)
        super().__init__()

    def answer(self, request):
        if next(self._numbers) == self.revoke_at:
            self.tokens.revoke_all()
        if request.bearer is None or not self.tokens.is_alive(request.bearer):
            return Answer(401, {"errors": [{"message": "no"}]}, {"WWW-Authenticate": "Bearer"})
        return Answer(200, {"data": {"greeting": "hello"}})


@pytest.fixture
def api(server):
    """Return the server, which accepts the tokens of the authorization server."""
    with GraphQLServer(server) as api:
        yield api
