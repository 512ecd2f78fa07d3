# ruff: noqa: N999 - PyInstaller names hooks so
"""What a program needs that imports ``tokenkeeper``, and PyInstaller can't see.

Public names are imported at first use, and so are msal and anyio's backend, each by a name that is
a string. The rooms below that a program imports itself, by a statement, are seen.
"""

from PyInstaller.utils.hooks import collect_submodules

SEEN = tuple(
    f"tokenkeeper.{room}"
    for room in ("_pyinstaller", "cli", "doctor", "integrations", "testing", "__main__")
)

hiddenimports = [
    *collect_submodules("tokenkeeper", filter=lambda name: not name.startswith(SEEN)),
    "anyio._backends._asyncio",
    "asyncio",
    "msal",
    "msal.authority",
]
