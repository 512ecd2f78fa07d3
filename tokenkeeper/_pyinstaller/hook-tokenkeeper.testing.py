# ruff: noqa: N999 - PyInstaller names hooks so
"""What a program needs that imports ``tokenkeeper.testing``, whose names are imported at first use.

The plug-in is pytest's to import.
"""

from PyInstaller.utils.hooks import collect_submodules

hiddenimports = collect_submodules(
    "tokenkeeper.testing",
    filter=lambda name: name not in ("tokenkeeper.testing.plugin", "tokenkeeper.testing.__main__"),
)
