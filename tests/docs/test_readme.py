"""The README: its two commands, its length, its links in the repository and on a package index."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"')


def links(text):
    """Return where the links and pictures of *text* lead."""
    return [link or picture for link, picture in LINK.findall(text)]


def test_the_two_commands():
    """One command installs and runs the demo, one runs the tests."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    demo = "python3 -m venv venv && . venv/bin/activate\n"
    demo += "pip install '.[demo]' && tokenkeeper demo\n"
    assert demo in blocks
    assert "pip install tox && tox\n" in blocks


def test_length():
    """The README is a page, not a manual."""
    assert 400 <= len(README.split()) <= 600


@pytest.mark.parametrize("link", links(README))
def test_links_lead_to_files(link):
    """Each link of the README leads to a file of the repository."""
    assert (ROOT / link.partition("#")[0]).is_file()


def test_links_on_a_package_index():
    """In the package's metadata each link of the README is absolute and names the same file."""
    absolute = runpy.run_path(ROOT / "setup.py")["with_absolute_links"]
    home = "https://git.example.org/us/it"
    described = links(absolute(README, home))
    assert len(described) == len(links(README)) > 10
    assert all(link.startswith((f"{home}/blob/main/", f"{home}/raw/main/")) for link in described)
    assert [link.partition("/main/")[2] for link in described] == links(README)


def test_other_links_stay_as_they_are():
    """Absolute links and links within the page are not changed for the package index."""
    absolute = runpy.run_path(ROOT / "setup.py")["with_absolute_links"]
    text = "[a](https://example.com) [b](#part) [c](d.md#e)"
    assert absolute(text, "https://h") == (
        "[a](https://example.com) [b](#part) [c](https://h/blob/main/d.md#e)"
    )
