"""An API on loopback that asks about each token whether it is alive."""

from kit.servers.base import Answer, LoopbackServer


class BearerApi(LoopbackServer):
    """Answers requests with a token that *is_alive* accepts, and 401 to others.

    :param replies: a function of a request that returns its :class:`Answer`.

    :ivar is_alive: may be assigned to.
    :ivar refused: the number of requests that were answered with 401.
    """

    def __init__(self, is_alive, replies, **options):
        self.is_alive = is_alive
        self._replies = replies
        self.refused = 0
        super().__init__(**options)

    def answer(self, request):
        if request.bearer is not None and self.is_alive(request.bearer):
            return self._replies(request)
        self.refused += 1
        return Answer(401, {"message": "Unauthorized"}, {"WWW-Authenticate": "Bearer"})
