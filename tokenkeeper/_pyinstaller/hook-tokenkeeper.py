# ruff: noqa: N999 - PyInstaller names hooks so
"""What a program needs that imports ``tokenkeeper``, and PyInstaller can't see.

Public names, tenacity, msal, PyJWT, cryptography and anyio's backend are imported at first use, by
names that are strings. PyInstaller finds the parts in ``SEEN``, because a program imports them by a
statement.
"""

from PyInstaller.utils.hooks import collect_submodules

SEEN = tuple(
    f"tokenkeeper.{part}"
    for part in (
        "_pyinstaller",
        "cli",
        "dashboard",
        "doctor",
        "integrations",
        "testing",
        "__main__",
    )
)

hiddenimports = [
    *collect_submodules("tokenkeeper", filter=lambda name: not name.startswith(SEEN)),
    "anyio._backends._asyncio",
    "asyncio",
    "cryptography.hazmat.primitives.serialization",
    "difflib",
    "jwt",
    "jwt.algorithms",
    "msal",
    "msal.authority",
    "tenacity",
]
