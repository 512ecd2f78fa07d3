"""Draw the pictures of the dashboard: one hour of a fleet, on a light and on a dark screen.

Run ``python docs/pictures/dashboard.py`` where Chromium and Pillow are installed. It writes
``dashboard-light.png`` and ``dashboard-dark.png`` beside this file. The hour passes on a clock of
its own, so each run shows the same.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import anyio
import httpx
import uvicorn
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for the kit

from kit.browser import OPTIONS  # noqa: E402
from kit.guards import until  # noqa: E402
from kit.stored import StoredFleet  # noqa: E402

from tokenkeeper.dashboard.app import application  # noqa: E402
from tokenkeeper.stores.sealed import KeyRing  # noqa: E402
from tokenkeeper.stores.settings import StoreSettings  # noqa: E402
from tokenkeeper.testing import SteppedClock  # noqa: E402

COLOURS = 160
SIZE = (1180, 670)
REFUSAL = (
    "token request failed (HTTP 401). The server answered: invalid_client: the client secret has "
    "expired"
)


def an_hour(fleet: StoredFleet, clock: SteppedClock, app: object) -> None:
    """Let an hour pass: tokens are renewed, one server has an outage, one secret expires."""

    async def look() -> None:
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.get("/data.json")

    def renew(name: str, worker: int, **parameters: str) -> None:
        fleet.token(name, granted_to=f"{name}-{worker}:{400 + worker}", **parameters)

    renew("reports", 1)
    clock.step(30)
    fleet.token("storage", lifetime=86_400, granted_to="storage-2:402", tenant="contoso.example")
    for minute in range(61):
        if minute % 5 == 0:
            renew("billing", minute % 7, scope="invoices.read invoices.write")
        if minute % 7 == 3:
            renew("crm", minute % 3)
        if minute % 20 == 6:
            renew("mail", minute % 4, account="ada@example.com")
        if minute in (31, 32, 34, 38):
            fleet.failure("payments", "the server is down")
        if minute in (3, 40):
            renew("payments", 2)
        for _ in range(6):
            anyio.run(look)
            clock.step(10)
    fleet.failure("reports", REFUSAL, failures=4, reported_by="reports-3:77", stands=120)
    fleet.token("crm", age=3385, granted_to="crm-1:401")
    clock.step(21)
    fleet.claim(fleet.key("crm"), intent="crm-2:402 is about to request a token")
    clock.step(2)
    anyio.run(look)


def main() -> None:
    """Write both pictures."""
    clock = SteppedClock()
    fleet = StoredFleet(sealer=KeyRing({"2030-03": bytes(32)}), clock=clock)
    settings = StoreSettings(fleet.store, fleet.sealer, label="rediss://cache.example:6380/0")
    app = application(settings, "Tokens of ACME", 2.0, clock)
    an_hour(fleet, clock, app)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        for scheme, name in enumerate(("dashboard-dark", "dashboard-light")):
            picture(f"http://127.0.0.1:{port}/", scheme, Path(__file__).with_name(f"{name}.png"))
    finally:
        server.should_exit = True
        thread.join()


def picture(url: str, scheme: int, file: Path) -> None:
    """Write a picture of the page at *url*."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is not installed")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(  # noqa: S603 - a program of this machine
            [
                *(chromium, *OPTIONS.split(), f"--user-data-dir={folder}/profile"),
                *(f"--blink-settings=preferredColorScheme={scheme}", "--virtual-time-budget=2000"),
                *("--window-size={},{}".format(*SIZE), f"--screenshot={folder}/shot.png", url),
            ],
            check=True,
            capture_output=True,
            timeout=90,
        )
        with Image.open(f"{folder}/shot.png") as shot:
            few = shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            few.save(file, optimize=True)


if __name__ == "__main__":
    main()
