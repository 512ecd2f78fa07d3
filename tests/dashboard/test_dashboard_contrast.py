"""The colours of the dashboard can be read by people with weak sight (WCAG 2.2, AA)."""

import re

import pytest

from tokenkeeper.dashboard.page import static_file

CSS = static_file("dashboard.css").decode()
BLOCKS = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)


def colours(block):
    """Return the colours of a scheme by their names."""
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))


def luminance(colour):
    """Return the relative luminance of a colour, as WCAG 2.2 defines it."""
    shares = [byte / 255 for byte in bytes.fromhex(colour[1:])]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("block", BLOCKS, ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "quiet", "ok", "warning", "problem"])
@pytest.mark.parametrize("ground", ["ground", "shade", "raised"])
def test_texts(block, name, ground):
    """Each colour of text has a contrast of at least 4.5 on each background."""
    scheme = colours(block)
    assert contrast(scheme[name], scheme[ground]) >= 4.5


@pytest.mark.parametrize("block", BLOCKS, ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "focus"])
def test_marks(block, name):
    """The present on a bar, the frame of what has the focus, and columns have at least 3."""
    scheme = colours(block)
    grounds = ["fresh", "buffer", "margin"] if name == "text" else ["ground", "shade"]
    for ground in grounds:
        assert contrast(scheme[name], scheme[ground]) >= 3
