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


def grey(colour):
    """Return *colour* without colour, as ``grayscale(1)`` of Filter Effects shows it."""
    shares = zip((0.2126, 0.7152, 0.0722), bytes.fromhex(colour[1:]), strict=True)
    return "#" + 3 * f"{round(sum(share * byte for share, byte in shares)):02x}"


def blended(colour, ground, opacity):
    """Return what is seen of *colour* if the *ground* shows through."""
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(ground[1:]), strict=True)
    mixed = (round(opacity * upper + (1 - opacity) * lower) for upper, lower in pairs)
    return "#" + bytes(mixed).hex()


@pytest.mark.parametrize("block", BLOCKS, ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "quiet", "ok", "warning", "problem"])
@pytest.mark.parametrize("ground", ["ground", "shade"])
def test_texts_of_the_past(block, name, ground):
    """What is greyed because it is not current can still be read."""
    rule = re.search(r"\.outdated table, \.disconnected table \{(.*?)\}", CSS, re.DOTALL)[1]
    opacity = float(re.search(r"opacity: ([0-9.]+)", rule)[1])
    scheme = colours(block)
    name = dict(re.findall(r"--(\w+): var\(--(\w+)\)", rule)).get(name, name)
    below = scheme["ground"]
    behind = blended(grey(scheme[ground]), below, opacity)
    assert contrast(blended(grey(scheme[name]), below, opacity), behind) >= 4.5


@pytest.mark.parametrize("block", BLOCKS, ids=["light", "dark"])
@pytest.mark.parametrize("name", ["text", "focus"])
def test_marks(block, name):
    """The present on a bar, the frame of what has the focus, and columns have at least 3."""
    scheme = colours(block)
    grounds = ["fresh", "buffer", "margin"] if name == "text" else ["ground", "shade"]
    for ground in grounds:
        assert contrast(scheme[name], scheme[ground]) >= 3
