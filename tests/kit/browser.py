"""Starts Chromium without a screen, a profile or requests of its own."""

import os
import shutil

import pytest

from kit.programs import unavailable

OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run"
    " --disable-sync --disable-background-networking --disable-component-update"
    " --enable-logging=stderr --hide-scrollbars"
)


def chromium_command(profile):
    """Return the command that starts Chromium. In CI a missing Chromium is a failure.

    ``TOKENKEEPER_CHROMIUM=none`` marks a machine that can't have it.

    :param profile: a folder that does not exist yet.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        left_out = os.environ.get("TOKENKEEPER_CHROMIUM") == "none"
        (pytest.skip if left_out else unavailable)("Chromium is not installed")
    return [found, *OPTIONS.split(), f"--user-data-dir={profile}"]
