"""A real server that grants one token until it has expired, with many readers."""

import math
import threading
import time

import pytest
from kit.awake import awake_seconds
from kit.servers.base import Answer, LoopbackServer

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, OAuth2Error

LIFETIME_SECONDS = 4.0
RUN_SECONDS = 9.0
READERS = 8


class Server(LoopbackServer):
    """Grants ``token-1`` with its remaining whole seconds, finally 0, then ``token-2``."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.requests = 0
        self.expiries = {}  # token -> when it expires

    def answer(self, request):
        with self.lock:
            self.requests += 1
            now = time.monotonic()
            token = f"token-{len(self.expiries)}"
            if self.expiries.get(token, 0.0) <= now:
                token = f"token-{len(self.expiries) + 1}"
                self.expiries[token] = now + LIFETIME_SECONDS
            left = math.floor(self.expiries[token] - now + 1e-3)
        return Answer(body={"access_token": token, "token_type": "Bearer", "expires_in": left})


@pytest.fixture
def server():
    with Server() as server:
        yield server


def test_readers_all_the_time(kit, make_keeper, server):
    """No read fails or gets an expired token, waits are short, and requests are few."""
    url = f"{server.origin}/token"
    keeper = make_keeper(GenericOAuth2Provider(OAuth2Config("api", "client", "secret", url)))
    until = time.monotonic() + RUN_SECONDS

    def read(awake):
        failed, dead, longest = [], 0, 0.0
        while (began := time.monotonic()) < until:
            asked = awake()
            try:
                token = keeper.get_token("api")
            except OAuth2Error as error:
                failed.append(error)
                continue
            dead += server.expiries[token] < began
            longest = max(longest, awake() - asked)
            time.sleep(0.01)
        return failed, dead, longest

    with awake_seconds() as awake:
        results = kit.crowd(READERS, lambda: read(awake)).join()
    failed, dead, longest = zip(*results, strict=True)
    assert [error for errors in failed for error in errors] == []
    assert sum(dead) == 0
    assert max(longest) <= 2.0
    assert len(server.expiries) >= 2
    assert server.requests / len(server.expiries) <= 7
