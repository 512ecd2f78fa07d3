"""What fleets live through with refresh tokens that work once, on a server that is strict."""

import contextlib
import signal
from pathlib import Path

from kit.fleets.claims import Figures
from kit.fleets.engines import running_engine
from kit.fleets.fleet import Fleet, nap
from kit.guards import until
from kit.servers.oidc import OidcProvider

LIFETIME = 3


@contextlib.contextmanager
def signed_in(engine, *, processes, seconds, delay=0.05, server=None, **options):
    """Run a fleet in the block whose processes share one grant of oidc-provider.

    They end by closing their keepers. The server would count a request that a process abandons as
    one that it refused, because it never gets to read it.
    """
    with contextlib.ExitStack() as stack:
        if server is None:
            server = OidcProvider()
            stack.callback(server.stop)
        server.add_client(
            "fleet",
            grant_types=["authorization_code", "refresh_token"],
            redirect_uris=["http://127.0.0.1/callback"],
            response_types=["code"],
            scope="openid offline_access",
            lifetime_seconds=LIFETIME,
            delay_seconds=delay,
        )
        fleet = Fleet(
            engine.store,
            Endpoint(server.token_endpoint),
            seconds=seconds,
            closes=True,
            client_id="fleet",
            client_secret=server.clients["fleet"],
            additional_params={"refresh_token": server.sign_in("fleet")},
            options={"grant_type": "refresh_token", **options},
        )
        stack.enter_context(fleet)
        fleet.start(processes)
        yield fleet, server


class Endpoint:
    """A token endpoint that is not ours."""

    def __init__(self, token_url):
        self.token_url = token_url


def rotating(engine_name, *, processes=16, seconds=12.0, hang_seconds=2.0, server=None):
    """One grant serves a whole fleet, while the store hangs twice, is rolled back and wiped."""
    figures = Figures("rotating refresh tokens", engine_name)
    with (
        running_engine(engine_name) as engine,
        signed_in(engine, processes=processes, seconds=600.0, server=server) as (fleet, server),
    ):
        fleet.go()
        until(lambda: len(fleet.all_events("token")) >= processes, "a token for each", pause=0.1)
        for trouble in (_hang, _hang, _roll_back, _wipe):
            nap(seconds / 6)
            trouble(engine, hang_seconds)
        nap(seconds / 3)
        before = server.stats("fleet")["grants"]
        until(
            lambda: server.stats("fleet")["grants"] >= before + 2,
            lambda: f"a token after all of it: {server.stats('fleet')} {fleet.story()}",
            limit=60.0,
            pause=0.1,
        )
        fleet.flag("stop")
        fleet.wait()
        stats = server.stats("fleet")
        figures.note(
            requests=stats["token_requests"],
            tokens=stats["grants"],
            families_revoked=stats["families_revoked"],
        )
        figures.claim_service(fleet)
        figures.claim(stats["families_revoked"] == 0, "the grant was revoked")
        figures.claim(stats["token_requests"] == stats["grants"], "a request was refused")
    return figures


def _hang(engine, seconds):
    if engine.program is not None:
        engine.hang()
        nap(seconds)
        engine.go_on()


def _roll_back(engine, _seconds):
    saved = engine.save()
    nap(LIFETIME)
    engine.load(saved)


def _wipe(engine, _seconds):
    engine.load({})


def paused_holder(engine_name, *, processes=4, server=None):
    """A process that is stopped with its claim, until another one took it over, sends nothing."""
    figures = Figures("paused holder", engine_name)
    longest = {"total_timeout": 3.0}  # so that a claim is taken over after 8 s, and not after 35
    with (
        running_engine(engine_name) as engine,
        signed_in(engine, processes=processes, seconds=600.0, server=server, **longest) as (
            fleet,
            server,
        ),
    ):
        fleet.go()
        until(lambda: len(fleet.all_events("token")) >= processes, "a token for each", pause=0.1)
        fleet.flag("freeze")
        until(lambda: any(map(is_stopped, fleet.pids)), "a process that stops before it sends")
        (victim,) = filter(is_stopped, fleet.pids)
        until(lambda: fleet.all_events("ClaimTakenOver"), "a takeover", pause=0.1)
        fleet.signal(signal.SIGCONT, [victim])
        resumed = len(fleet.events(victim))
        until(
            lambda: any(each["event"] == "token" for each in fleet.events(victim)[resumed:]),
            "a token of the process that goes on",
            pause=0.1,
        )
        fleet.flag("stop")
        fleet.wait()
        stats = server.stats("fleet")
        figures.note(
            requests=stats["token_requests"],
            tokens=stats["grants"],
            families_revoked=stats["families_revoked"],
        )
        figures.claim(stats["families_revoked"] == 0, "the grant was revoked")
        figures.claim(stats["token_requests"] == stats["grants"], "a request was refused")
    return figures


def is_stopped(pid):
    """Return whether a signal stopped the process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
