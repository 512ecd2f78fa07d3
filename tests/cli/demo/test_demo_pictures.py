"""The pictures of the demo in the README."""

import importlib.util
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tokenkeeper.cli.demo.report import Plan, Report, Side, Snapshot
from tokenkeeper.cli.demo.tally import Tally, summary
from tokenkeeper.testing import ServerStats

PICTURES = Path(__file__).parents[3] / "docs" / "pictures"


def load_script():
    """Return the module that draws the pictures."""
    spec = importlib.util.spec_from_file_location("make_pictures", PICTURES / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(svg):
    """Return the text of *svg*, after parsing it."""
    return " ".join(" ".join(ET.fromstring(svg).itertext()).split())


def assert_self_contained(svg):
    """Fail if *svg* refers to anything on the network."""
    assert "@font-face" not in svg
    assert set(re.findall(r"https?://[^\"' )]+", svg)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", ["dark", "light"])
def test_the_pictures_are_self_contained(name):
    """The pictures in the repository are valid SVG that loads nothing from the network."""
    svg = (PICTURES / f"demo-{name}.svg").read_text(encoding="utf-8")
    assert_self_contained(svg)
    words = words_of(svg)
    assert "tokenkeeper demo" in words
    assert "naive client" in words.replace("\N{NO-BREAK SPACE}", " ")


def test_the_script_draws_a_report():
    """The script draws the figures of a report on each background."""
    script = load_script()
    callers = summary([Tally(attempts=1235, calls=1235, slowest_call=0.05)])
    side = Side(callers, ServerStats(token_requests=9))
    end = Snapshot(15.0, True, 4, side, Side(callers, ServerStats(token_requests=464)))
    report = Report(Plan(), end, False, 6.0, 1.5, 4, 0.000001, 0.000002)
    drawn = {name: script.draw(report, name, theme) for name, theme in script.THEMES.items()}
    for svg in drawn.values():
        assert_self_contained(svg)
        assert {"464", "1,235", "50.0"} <= set(re.split(r"[\s\N{NO-BREAK SPACE}]", words_of(svg)))
    assert 'fill="#0d1117"' in drawn["dark"]
    assert 'fill="#ffffff"' in drawn["light"]
