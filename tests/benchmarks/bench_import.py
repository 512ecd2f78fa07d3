"""The cost of imports, in fresh interpreters, beside ``import requests``."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import Rounds
from report import Section, Table, short

import tokenkeeper

FIRST_PROVIDER = (
    "from tokenkeeper import TokenKeeper, GenericOAuth2Provider, OAuth2Config; "
    "GenericOAuth2Provider(OAuth2Config('api', 'id', 'secret', 'https://id.example.com/'))"
)
"""What a service needs before its first token."""

LABELS = {
    FIRST_PROVIDER: "`from tokenkeeper import ..., GenericOAuth2Provider`, and a first provider"
}

STATEMENTS = (
    "import requests",
    "import tokenkeeper",
    "from tokenkeeper import TokenKeeper",
    "from tokenkeeper import OAuth2TokenManager",
    "from tokenkeeper import TokenKeeper, GenericOAuth2Provider",
    FIRST_PROVIDER,
    "from tokenkeeper import AzureADProvider",
)
PROGRAM = """
import sys, time
began = time.perf_counter()
{statement}
print(time.perf_counter() - began, *(m for m in ("anyio", "requests", "msal") if m in sys.modules))
"""


def run(quick):
    loaded = {}
    contenders = {}
    for statement in STATEMENTS:
        try:
            loaded[statement] = fresh_import(statement)[1]
        except subprocess.CalledProcessError:
            continue  # not installed
        contenders[statement] = lambda statement=statement: fresh_import(statement)[0]
    rounds = Rounds(contenders, 5 if quick else 15)
    base = STATEMENTS[0]
    table = Table(("statement", "best", "x requests, best", "median", "what it loads"))
    for statement in contenders:
        table.add(
            LABELS.get(statement, f"`{statement}`"),
            short(rounds.best(statement)),
            f"{rounds.best_ratio(statement, base):.3f}",
            f"{rounds.median_ratio(statement, base):.3f}",
            ", ".join(loaded[statement]) or "none of the heavy ones",
        )
    light = loaded["import tokenkeeper"]
    section = Section(
        "Import",
        "Each in a fresh interpreter, in turn. The package loads its names on demand, so the aim "
        "of a quarter of `import requests` is for the package itself. The first use of a name "
        "loads what it needs, a first `GenericOAuth2Provider` loads requests, and an "
        "`AzureADProvider` loads msal for its first token request. Each interpreter finds compiled "
        "files, as an installed package has them.",
        [table],
    )
    section.claim(
        not {"requests", "msal"} & set(light), f"`import tokenkeeper` loads {' and '.join(light)}"
    )
    return section


@functools.cache
def compiled_files():
    """Return a directory for compiled files, which not every environment lets Python write."""
    return tempfile.TemporaryDirectory()


def fresh_import(statement):
    """Return the seconds of *statement* in a new interpreter, and the heavy modules it loads."""
    home = str(Path(tokenkeeper.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": home, "PYTHONPYCACHEPREFIX": compiled_files().name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)],
        env=environment,
        capture_output=True,
        check=True,
        text=True,
    )
    seconds, *modules = done.stdout.split()
    return float(seconds), modules
