"""The package's own authorization server in a separate process, so that it has its own GIL."""

import multiprocessing
from contextlib import contextmanager, suppress

from tokenkeeper import OAuth2Config
from tokenkeeper.testing import LoopbackAuthorizationServer


@contextmanager
def loopback_server():
    """Run a server; yield the registration of a client."""
    fresh = multiprocessing.get_context("spawn")
    ours, theirs = fresh.Pipe()
    child = fresh.Process(target=_serve, args=(theirs,))
    child.start()
    try:
        yield OAuth2Config(*ours.recv())
    finally:
        ours.close()
        child.join()


def _serve(pipe):
    with LoopbackAuthorizationServer() as server:
        pipe.send(("api", server.client_id, server.client_secret, server.token_url))
        with suppress(EOFError):  # the other end is closed when the load is over
            pipe.recv()
