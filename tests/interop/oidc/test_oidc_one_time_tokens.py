"""Refresh tokens that work once, at a server that revokes the family of one that is used twice."""

import pytest
from kit.families import TOTAL_SECONDS, Family, kill_at_random
from kit.processes import Child, Script

from tokenkeeper import TokenAcquisitionError
from tokenkeeper._renewal import looks

PROGRAM = """
import json, os, signal, sys, threading, time
from urllib.request import urlopen
from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenKeeper

CLIENT = {client_id!r}
keeper = TokenKeeper(store={store!r})
config = OAuth2Config("api", CLIENT, "family-secret", {token_url!r},
                      additional_params={{"refresh_token": {first!r}}})
keeper.add_provider(
    GenericOAuth2Provider(config, grant_type="refresh_token", total_timeout={total})
)
threading.Thread(target=keeper.get_token, args=("api",), daemon=True).start()
while True:
    with urlopen({issuer!r} + "/admin/stats") as answer:
        if json.load(answer).get(CLIENT, {{}}).get("grants"):
            break
    time.sleep(0.02)
{ending}
"""

ENDINGS = {
    "it returns": (0, False, ""),
    "sys.exit": (3, False, "sys.exit(3)"),
    "SIGTERM": (
        143,
        False,
        """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
""",
    ),
    "os._exit": (4, True, "os._exit(4)"),
}


@pytest.mark.parametrize(("code", "detached", "ending"), ENDINGS.values(), ids=ENDINGS)
def test_a_process_ends_in_mid_flight(oidc, tmp_path, code, detached, ending):
    """The token of a request that is under way as a process ends is stored, and not lost."""
    folder = tmp_path / "private"
    folder.mkdir()
    family = Family(oidc, folder, detached=detached, hold_seconds=1.0)
    text = PROGRAM.format(
        client_id=family.client_id,
        store=family.store,
        token_url=oidc.token_endpoint,
        first=family.first,
        total=TOTAL_SECONDS,
        issuer=oidc.issuer,
        ending=ending,
    )
    assert Script(tmp_path / "program.py", text).result() == (code, "", "")
    assert family.is_alive
    assert family.arrivals == 2


@pytest.mark.parametrize("rounds", [5])
def test_workers_are_killed_at_any_moment(oidc, tmp_path, monkeypatch, rounds):
    """With ``detached``, no kill of a worker loses a refresh token."""
    monkeypatch.setattr(looks, "TAKEOVER_SECONDS", 0.5)
    assert kill_at_random(oidc, tmp_path, rounds).is_alive


def test_a_refresh_token_is_lost(oidc, tmp_path, monkeypatch):
    """Without ``detached``, one request finds out, and every process reports what to do, and why.

    A worker was killed while the server worked on its request.
    """
    monkeypatch.setattr(looks, "TAKEOVER_SECONDS", 0.5)
    family = Family(oidc, tmp_path, hold_seconds=0.5)
    family.kill_in_mid_flight()
    family.slow_down(0.0)

    def ask():
        with family.keeper() as keeper, pytest.raises(TokenAcquisitionError) as raised:
            keeper.get_token("api")
        return str(raised.value)

    first = ask()
    assert "a new sign-in is needed" in first
    assert "was killed in the middle of the request" in first
    assert [ask(), Child(ask).result()] == [first, first]
    assert family.arrivals == 2
