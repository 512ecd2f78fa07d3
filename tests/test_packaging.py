"""The package's dependencies: their lower bounds are tested, and have no known faults."""

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = {"bench", "clients", "dev", "docs", "test"}  # what users do not install
PINNED = {"pytest": "8.3"}  # anyio's plugin at its lower bound does not load in the newest pytest

pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.cfg").exists(), reason="the tests run without the rest of the repository"
)


def lower_bounds():
    """Return the lower bound of each dependency that users may install."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    texts = [setup["options"]["install_requires"]]
    texts += [text for name, text in extras.items() if name not in TOOLS]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    bounds = {}
    for line in lines:
        if line and not line.startswith("%("):
            name, bound = line.split(">=")
            assert bounds.setdefault(name, bound) == bound, f"{name} has two lower bounds"
    return bounds


def test_floors_are_the_lower_bounds():
    """`tox -e floors` installs exactly the lower bounds of setup.cfg."""
    text = (ROOT / "floors.txt").read_text(encoding="utf-8")
    floors = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", text, re.MULTILINE))
    assert floors == lower_bounds() | PINNED


PUBLISHED_FIXES = {
    "aiohttp": (3, 14, 4),
    "anyio": (4, 14, 2),
    "azure-core": (1, 38, 3),
    "click": (8, 3, 3),
    "cryptography": (50,),
    "grpcio": (1, 68),
    "PyJWT": (2, 13),
    "requests": (2, 33),
    "urllib3": (2, 7, 0),
}


@pytest.mark.parametrize("name", PUBLISHED_FIXES)
def test_lower_bounds_are_at_published_fixes(name):
    """No version with a known vulnerability, or a fault that affects Tokenkeeper, is allowed."""
    bound = tuple(map(int, lower_bounds()[name].split(".")))
    assert bound >= PUBLISHED_FIXES[name]
