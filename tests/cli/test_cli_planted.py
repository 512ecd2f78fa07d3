"""What another user planted in place of the store is never used, and causes no wait."""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files have no owners on this platform")


def link(place):
    elsewhere = place.parent.parent / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)


def device(place):
    place.unlink()
    place.symlink_to("/dev/zero")


def pipe(place):
    place.unlink()
    os.mkfifo(place, 0o600)


def directory(place):
    place.unlink()
    place.mkdir()


PLANTED = {
    "a link": link,
    "a link to /dev/zero": device,
    "a pipe": pipe,
    "a directory": directory,
    "a file that others may read": lambda place: place.chmod(0o644),
    "a file that others may write": lambda place: place.chmod(0o622),
    "garbage": lambda place: place.write_bytes(b"garbage" * 999),
    "a log that is a pipe": lambda place: os.mkfifo(f"{place}-wal", 0o600),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_the_command(tokenkeeper, cache, server, plant):
    """`get` prints a token of the server instead, and warns; `status` names the file."""
    first = tokenkeeper("get", "billing").stdout
    plant(cache / "tokens.db")
    result = tokenkeeper("get", "billing")
    assert result.exit_code == 0
    assert result.stdout not in ("", first)
    assert result.stderr.startswith("Warning: the token could not be stored for the next run: ")
    assert "tokens.db" in result.stderr
    assert server.stats().token_requests == 2
    status = tokenkeeper("status")
    assert status.exit_code == 1
    assert "tokens.db" in status.stderr


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o770])
def test_a_directory_that_others_may_use(tokenkeeper, cache, mode):
    """A directory that others can use is refused with the command that fixes it."""
    cache.chmod(mode)
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"chmod 700 {cache}" in result.stderr


def test_a_directory_that_is_everybodys(tokenkeeper, cache):
    """The advice for /tmp is a new directory, not a change of its mode."""
    cache.chmod(0o1777)
    result = tokenkeeper("get", "billing")
    assert result.exit_code == 2
    assert "mkdir -m 700" in result.stderr
    assert "chmod" not in result.stderr


@pytest.mark.parametrize("name", ["link", "file", "gone/store"])
def test_no_directory(tokenkeeper, environment, tmp_path, name):
    """A link, a file or a missing parent is refused with a clear message."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("")
    environment.setenv("TOKENKEEPER_CACHE_DIR", str(tmp_path / name))
    result = tokenkeeper("get", "billing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "can't store tokens" in result.stderr


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_a_place_that_others_may_write(tokenkeeper, tmp_path, mode):
    """A directory that others can replace is refused with the command that fixes it."""
    above = tmp_path / "above"
    above.mkdir()
    cache = ("--cache", str(above / "store"))
    assert tokenkeeper("get", "billing", *cache).exit_code == 0
    above.chmod(mode)
    result = tokenkeeper("get", "billing", *cache)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"chmod o-w {above}" in result.stderr


def test_no_token_on_a_command_line():
    """No example or message puts a token on a command line, which every user can see."""
    root = Path(__file__).parents[2]
    texts = {
        place: place.read_text(encoding="utf-8")
        for pattern in ("*.md", "docs/**/*.md", "tokenkeeper/**/*.py")
        for place in root.glob(pattern)
        if place.name != "CHANGELOG.md"
    }
    shown = re.compile(r"""(?:-H|--header|-u|-d|--data\S*)[ =]*["']?[^"'\n]*\$\(tokenkeeper get""")
    assert [place.name for place, text in texts.items() if shown.search(text)] == []
    piped = [place for place, text in texts.items() if "--format header | curl -H @-" in text]
    assert {place.name for place in piped} >= {"command-line.md", "tutorial.md", "get.py"}


@pytest.mark.slow
def test_curl_reads_the_header_from_standard_input(start, server, tmp_path):
    """The documented pipe into curl keeps the token out of the process list."""
    try:
        subprocess.run(["curl", "--version"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("curl is not installed")
    process = start("get", "billing", "--format", "header")
    command = ["curl", "-sS", "--noproxy", "*", "-w", "%{http_code}", "-o", os.devnull]
    done = subprocess.run(
        [*command, "-H", "@-", server.api_url],
        stdin=process.stdout,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("200", "")
