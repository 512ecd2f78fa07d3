"""The table of standards: each test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "standards.md"
ROWS = [
    [cell.strip() for cell in line[1:-1].split("|")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| standard", "| protocol"))
]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`([\w/]+\.py(?:::\w+)*)`", row[-1])})
ASKED_FOR = [
    *(6749, 6750, 7009, 7519, 7521, 7523, 7591, 7592, 7636, 7638, 7662, 8252, 8414, 8628, 8693),
    *(8705, 8707, 9068, 9101, 9126, 9207, 9396, 9449, 9700, 9701, 9728),
]
"""The numbers of RFCs about which a reader may ask."""


@cache
def names_in(file):
    """Return the names of the classes and functions of a test file, methods as "Class::name"."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    names = set()
    for outer in tree.body:
        if isinstance(outer, definitions):
            names.add(outer.name)
            inner = outer.body if isinstance(outer, ast.ClassDef) else []
            names |= {
                f"{outer.name}::{each.name}" for each in inner if isinstance(each, definitions)
            }
    return names


def exists(test):
    """Return whether a test, a class of tests or a file of tests exists."""
    file, _, name = test.partition("::")
    return (TESTS / file).is_file() and (not name or name in names_in(file))


@pytest.mark.parametrize("test", NAMED)
def test_each_named_test_exists(test):
    """A test that the table names is there, and is one that pytest collects."""
    assert exists(test)
    file, _, name = test.partition("::")
    assert Path(file).name.startswith("test_")
    assert not name or re.match("test_|Test", name)


@pytest.mark.parametrize(
    "test", ["oauth/test_dpop.py::test_nothing_of_the_kind", "oauth/test_nothing.py"]
)
def test_a_missing_test_is_noticed(test):
    """A test that was renamed, or whose file is gone, is not taken for an existing one."""
    assert not exists(test)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].partition(",")[0])
def test_what_is_done_has_a_test(row):
    """A row has four cells; what is done has a test, and a row without a test does nothing."""
    assert len(row) == 4
    _, done, missing, tests = row
    assert bool(done) == bool(tests)
    assert done or missing


@pytest.mark.parametrize("number", ASKED_FOR)
def test_each_standard_has_its_place(number):
    """Each standard that a reader may look for is on the page."""
    assert re.search(rf"\b{number}\b", " ".join(row[0] for row in ROWS))
