"""The way in for contributors: what its pages name exists, and its tools' files can be read."""

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DECISIONS = ROOT / "docs" / "decisions"
FRAGMENTS = ROOT / "changes"

pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.cfg").exists(), reason="the tests run without the rest of the repository"
)

PAGES = [
    "CONTRIBUTING.md",
    "SECURITY.md",
    "changes/README.md",
    "docs/inside.md",
    *sorted(f"docs/decisions/{page.name}" for page in DECISIONS.glob("*.md")),
]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def in_backticks(text):
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files(name):
    """A relative link on a page leads to a file or directory of the repository."""
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", read(name)):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", PAGES)
def test_paths_exist(name):
    """A path that a page names exists, in the repository or in the package."""
    places = [ROOT, ROOT / "tokenkeeper", ROOT / "tokenkeeper" / "oauth", ROOT / "tests" / "stress"]
    parts = ("_renewal", "config", "integrations")
    places += [ROOT / "tokenkeeper" / part for part in parts]
    places.append(ROOT / "tests" / "integrations")
    for path in in_backticks(read(name)):
        if re.fullmatch(r"\.?[\w-]+(/[\w.-]+)*(/|\.py|\.md|\.cfg|\.txt)", path):
            path = path.replace("/NAME.py", "/").replace("/NAME", "")
            if path == "NNNN-what-was-decided.md" or path.startswith("changes/123"):
                continue
            known = [place for place in places if (place / path).exists()]
            assert known, path


@pytest.mark.parametrize("name", PAGES)
def test_environments_exist(name):
    """An environment of tox that a page names exists, and so does a marker."""
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    for environment in re.findall(r"tox -e (\w+)", read(name)):
        assert f"testenv:{environment}" in tox, environment
    markers = tomllib.loads(read("pyproject.toml"))["tool"]["pytest"]["ini_options"].get("markers")
    for marker in re.findall(r"pytest -m (\w+)", read(name)):
        assert any(each.startswith(f"{marker}:") for each in markers), marker


def test_each_decision_is_listed():
    """The index has a row and an entry in its table of contents for each decision, in order."""
    index = read("docs/decisions/index.md")
    decisions = sorted(page.stem for page in DECISIONS.glob("[0-9]*.md"))
    assert re.findall(r"^\| \d+ \| \[.*\]\((.*)\.md\)", index, re.M) == decisions
    assert re.findall(r"^\d[\w-]+$", index, re.M) == decisions


@pytest.mark.parametrize("name", [page for page in PAGES if re.search(r"decisions/\d", page)])
def test_each_decision_follows_the_template(name):
    """A decision has its number, a status, a context, what was decided, and more."""
    text = read(name)
    number = int(Path(name).name.partition("-")[0])
    assert text.startswith(f"# {number}. ")
    assert "\n**Status:** " in text
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[:2] == ["Context", "Decision"]
    assert set(headings) <= {"Context", "Decision", "Consequences", "Evidence", "Results"}


def fragment_types():
    towncrier = tomllib.loads(read("pyproject.toml"))["tool"]["towncrier"]
    return [each["directory"] for each in towncrier["type"]]


def test_fragment_types_are_explained():
    """The page about fragments explains each type that towncrier collects."""
    rows = re.findall(r"^\| `(\w+)` \|", read("changes/README.md"), re.M)
    assert rows == fragment_types()


def test_fragments():
    """A changelog fragment has a name that towncrier understands, and ends with a full stop."""
    for path in FRAGMENTS.iterdir():
        if path.name == "README.md":
            continue
        types = "|".join(fragment_types())
        assert re.fullmatch(rf"(\d+|\+[\w-]+)\.({types})(\.\d+)?\.md", path.name), path.name
        text = path.read_text(encoding="utf-8")
        assert re.search(r"[.)]\n\Z", text), path.name
        assert "\n" not in text[:-1], f"{path.name} has more than one paragraph"


def test_releases_are_inserted_where_the_changelog_says():
    """Towncrier finds the place for a new release in the changelog."""
    towncrier = tomllib.loads(read("pyproject.toml"))["tool"]["towncrier"]
    changelog = read(towncrier["filename"])
    assert changelog.count(towncrier["start_string"]) == 1
    assert changelog.index(towncrier["start_string"]) < changelog.index("\n## ")


def test_pre_commit_hooks_are_pinned():
    """Each hook of pre-commit is installed from the package index at exactly one version."""
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    versions = {}
    for hook in repository["hooks"]:
        assert {"id", "name", "entry"} <= hook.keys()
        assert hook["language"] == "python"
        (pin,) = hook["additional_dependencies"]
        name, version = re.fullmatch(r"([\w-]+)==(\d+(?:\.\d+)+)", pin).groups()
        assert versions.setdefault(name, version) == version
    assert versions.keys() == {"ruff", "pre-commit-hooks"}


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
KINDS = {"checkboxes", "dropdown", "input", "markdown", "textarea"}


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_issue_forms(form):
    """An issue form has what the forge needs to display it: unique ids, labels, known fields."""
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    if form.stem == "config":
        assert content["blank_issues_enabled"] is False
        return
    assert {"name", "description", "body"} <= content.keys()
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in fields)
    assert {field["type"] for field in content["body"]} <= KINDS
    assert any(field.get("validations", {}).get("required") for field in fields)
