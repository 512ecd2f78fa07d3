"""The examples of the cookbook, whose functions and classes are tested as they are shown."""

import runpy

from kit.pages import ROOT


def names_of(example):
    """Return the names that an example defines. Its main part does not run."""
    return runpy.run_path(str(ROOT / "docs" / "cookbook" / f"{example}_example.py"))
