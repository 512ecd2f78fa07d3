"""The language of the package, its tests and its pages: words that must not come back.

Each rule has a pattern, what to write instead, and an example of what it finds. The check reads
docstrings, comments, pages, names, and the string literals of the package, which hold its messages.

A sentence that a rule should not have found goes on the list ``ALLOWED``, with a reason.
"""

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.cfg").exists(), reason="the tests run without the rest of the repository"
)


@dataclass(frozen=True)
class Rule:
    """A pattern that must not occur, what to write instead, and an example of what it finds."""

    name: str
    pattern: str
    instead: str
    example: str

    def __str__(self) -> str:
        return self.name

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Yield where the pattern occurs. A space in it matches any white space."""
        return re.finditer(self.pattern.replace(" ", r"\s+"), text, re.IGNORECASE)


class NameRule(Rule):
    """A rule for identifiers, which must match as a whole."""

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        match = re.fullmatch(self.pattern, text)
        return iter([match] if match else [])


PROSE = [
    Rule("mend", r"\bmend(s|ed|ing)?\b", "fix", "a restart mends no server"),
    Rule("at hand", r"\bat hand\b", "current, available", "the token at hand"),
    Rule(
        "by itself", r"\bby (it|them)sel(f|ves)\b", "automatically, on its own", "renews by itself"
    ),
    Rule(
        "is no X",
        r"(?<!there\s)\b(is|are|was|were) ((?-i:none)|no (?!(better|different|earlier|fewer|"
        r"greater|higher|larger|later|less|longer|lower|more|older|shorter|slower|worse)\b)\w+)\b",
        "is not a, is not one",
        "a path that is no file",
    ),
    Rule("whoever", r"\bwho(so)?ever\b", "callers that, code that", "whoever asks, waits"),
    Rule("those who", r"\b(those|he|the one) who\b", "callers that", "those who wait share it"),
    Rule(
        "who as a noun",
        r"\b(after|before|by|fail|for|from|hand|than|tell|serves?|to|with) who (?!else\b)\w+s\b"
        r"|(^|[.:;] )(?-i:Who) (?!is\b)\w+s\b",
        "callers that, the caller",
        "it serves who waits",
    ),
    Rule(
        "in the place of", r"\bin the place of\b", "in place of, to replace", "in the place of it"
    ),
    Rule("goes by", r"\b(goes?|went) by\b", "uses, follows", "it goes by the clock"),
    Rule("as is meant", r"\bas (it )?is meant\b", "as recommended", "who asks, as is meant"),
    Rule("told", r"\b(un)?told\b", "reported, notified, given", "a hook is told of it"),
    Rule("nobody", r"\bnobody\b", "no caller, no thread, no one", "a clock that nobody steps"),
    Rule("anew", r"\banew\b", "again, a new one", "makes its locks anew"),
    Rule("to be had", r"\bto be had\b", "available", "no token is to be had"),
    Rule("perhaps?", r"\bperhaps\?", "Did you mean ...?", "token_url perhaps?"),
    Rule("there twice", r"\bis there twice\b", "duplicate ...", "the name is there twice"),
    Rule(
        "end of a token",
        r"\b(tokens?('s)?|life|lives|lifetime) ends?\b(?! (the|a|its|up|in|with)\b)"
        r"|\b(after|ahead of|before|near|past|until) its end\b",
        "expiry, expires",
        "before the token's end",
    ),
    Rule("to live", r"\b(s|seconds) to live\b", "expires in ...", "it had -2.5 s to live"),
    Rule("one's own", r"\b(one|somebody)'s own\b", "custom, your own", "a provider of one's own"),
    Rule(
        "stands in",
        r"\b(stands? (at|in(?! for\b)|on|there)|lies? (at|beside|in|on|there))\b",
        "is in, contains",
        "the key stands in a file",
    ),
    Rule(
        "airline",
        r"\b(airlines?|crews?|flown|pilots?|took off|takes? off|in the air|land(s|ed))\b",
        "background, run, runner, start, in flight, complete",
        "a renewal is flown, and lands",
    ),
    Rule(
        "archaic",
        r"\b(heeds?|heeded|hereby|hitherto|nought|thence|whence|whereof|wherein)\b",
        "the everyday word",
        "signals are heeded",
    ),
]
"""Searched for in docstrings, comments, pages, and the package's string literals."""

FIRST_LINES = [
    Rule("Say ...", r"\ASay\b", "Return whether, Raise if", "Say whether it is fresh."),
    Rule(
        "Return what calls ...",
        r"\A(Return|Yield) what (?!is\b|this\b|was\b|\w+(us|ss)\b)[a-z]+s\b(?! (do|does)\b)",
        "Return a function that calls ..., or name the value",
        "Return what calls it.",
    ),
]
"""Searched for at the beginning of docstrings."""

NAMES = [
    NameRule("Renewals", r"_renewals|Renewals", "Coordinator", "Renewals"),
    NameRule("Pilot, Tower", r"_?[Pp]ilot|_?[Tt]ower", "Runner", "Pilot"),
    NameRule("Crew", r"_?[Cc]rew", "Background", "crew"),
    NameRule("Refresher", r"_?[Rr]efresher", "Scheduler", "refresher"),
    NameRule("Wish", r"_?[Ww]ish|is_granted_by", "Need, is_met_by", "Wish"),
    NameRule("patience", r"_?patience", "remaining_wait", "patience"),
    NameRule("Ledger", r"_?[Ll]edger", "TokenCache", "Ledger"),
    NameRule("HeldToken", r"HeldToken|_held", "CachedToken", "HeldToken"),
    NameRule("Trouble", r"Trouble", "FailureStreak", "Trouble"),
    NameRule("Setback", r"Setback", "FailureOutcome", "Setback"),
    NameRule("land_well", r"_?land(_\w+)?|took_off", "complete, fail, started_at", "land_well"),
    NameRule("rescue", r"_?rescue", "settle_interrupted", "rescue"),
    NameRule("in_background", r"_?in_background", "is_running, ensure_running", "in_background"),
    NameRule("line_up", r"_?line_up|_?untold", "enqueue, pending", "line_up"),
    NameRule("portal", r"_?[Pp]ortal|on_portal_thread", "provider_loop", "portal"),
    NameRule("StaysHere", r"StaysHere", "NotPicklable", "StaysHere"),
    NameRule("Shelf", r"_?[Ss]hel(f|ves)", "the store", "Shelf"),
    NameRule("Kept", r"_?Kept(Provider|Token)?", "CachedProvider", "KeptProvider"),
    NameRule("Recipe", r"_?Recipes?", "ProviderSpec", "Recipe"),
    NameRule("Piece, Described", r"_?(Piece|Described|Registered)", "Problem, Discovered", "Piece"),
    NameRule("Visit, Patient", r"_?(Patient|Subject|Visit)", "Examination, Target", "Visit"),
]
"""The airline's and other poets' names: searched for among the identifiers of Python files."""

ALLOWED: dict[tuple[str, str], str] = {
    ("tokenkeeper/testing/api.py", "told"): "a value of ServerStats.api_refused",
    ("tokenkeeper/testing/stats.py", "told"): "a value of ServerStats.api_refused",
    ("CONTRIBUTING.md", "is no file"): "quoted as what to avoid",
    ("CONTRIBUTING.md", "nobody"): "quoted as what to avoid",
    ("CONTRIBUTING.md", "those who"): "quoted as what to avoid",
    ("CONTRIBUTING.md", "whoever"): "quoted as what to avoid",
}
"""What may stay although a rule finds it."""


class Found(NamedTuple):
    """A place where a rule found something."""

    path: str
    line: int
    text: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text!r}: write {self.instead}"


class Text(NamedTuple):
    """A piece of prose, and the line on which it begins."""

    line: int
    text: str


class Texts(NamedTuple):
    """What is read in one file."""

    path: str
    docstrings: list[Text]
    prose: list[Text]
    names: list[Text]


def python_files() -> Iterator[Path]:
    """Yield the Python files of the package and of its tests, without this one."""
    for folder in ("tokenkeeper", "tests", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != Path(__file__) and "node_modules" not in path.parts:
                yield path


def pages() -> Iterator[Path]:
    """Yield the pages that people read, in the repository and on the site."""
    yield from sorted(ROOT.glob("*.md"))
    for folder in (".github", "changes", "docs", "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".md", ".yml"} and "node_modules" not in path.parts:
                yield path


@cache
def texts() -> list[Texts]:
    """Return the texts of all files, read once for all rules."""
    read = [read_python(path) for path in python_files()]
    for path in pages():
        page = [Text(1, path.read_text(encoding="utf-8"))]
        read.append(Texts(relative(path), [], page, []))
    return read


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read_python(path: Path) -> Texts:
    """Return the docstrings, comments, names and, of the package alone, the messages of a file."""
    source = path.read_text(encoding="utf-8")
    strings = list(strings_of(ast.parse(source)))
    docstrings = [text for text, is_docstring in strings if is_docstring]
    messages = [text for text, is_docstring in strings if not is_docstring and " " in text.text]
    comments, names = comments_and_names(source)
    name = relative(path)
    prose = docstrings + comments + (messages if name.startswith("tokenkeeper/") else [])
    return Texts(name, docstrings, prose, names)


def strings_of(tree: ast.AST) -> Iterator[tuple[Text, bool]]:
    """Yield each string literal, and whether it is a docstring: a statement of its own."""
    docstrings = set()
    for node in ast.walk(tree):  # which yields a statement before its expression
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            docstrings.add(node.value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Text(node.lineno, node.value), node in docstrings


TOKENS = re.compile(
    r"""
    (?P<comment> \#.* )
    | (?i:[bfru]{0,2}) (?: \"{3} (?s: (?:\\.|[^\\])*? ) \"{3} | \'{3} (?s: (?:\\.|[^\\])*? ) \'{3} )
    | (?i:[bfru]{0,2}) (?: " (?s: (?:\\.|[^"\\])* ) " | ' (?s: (?:\\.|[^'\\])* ) ' )
    | (?P<name> [^\W\d]\w* )
    | \d\w*
    """,
    re.VERBOSE,
)
"""Splits Python as ``tokenize`` does, which would take most of this file's time."""


def comments_and_names(source: str) -> tuple[list[Text], list[Text]]:
    """Return the comments, those on adjacent lines as one, and where each name first occurs."""
    comments: list[Text] = []
    names: dict[str, Text] = {}
    last = -1
    line, counted = 1, 0
    for token in TOKENS.finditer(source):
        line += source.count("\n", counted, token.start())
        counted = token.start()
        if token["name"]:
            names.setdefault(token["name"], Text(line, token["name"]))
        elif token["comment"]:
            text = token["comment"].lstrip("#!: ")
            if comments and line == last + 1:
                first, before = comments.pop()
                comments.append(Text(first, f"{before}\n{text}"))
            else:
                comments.append(Text(line, text))
            last = line
    return comments, list(names.values())


def found(rule: Rule, kind: str, paths: Collection[str] | None = None) -> list[Found]:
    """Return where *rule* finds something in texts of a *kind*: docstrings, prose or names.

    It looks into the files *paths*, by default into all.
    """
    places = []
    for file in texts():
        if paths is not None and file.path not in paths:
            continue
        for text in getattr(file, kind):
            for match in rule.matches(text.text):
                line = text.line + text.text[: match.start()].count("\n")
                words = " ".join(match[0].split())
                places.append(Found(file.path, line, words, rule.instead))
    return places


def check(rule: Rule, kind: str) -> None:
    """Fail with a line for each place where *rule* finds something that is not allowed."""
    places = [place for place in found(rule, kind) if (place.path, place.text) not in ALLOWED]
    if places:
        pytest.fail("\n".join(map(str, places)), pytrace=False)


@pytest.mark.parametrize("rule", PROSE, ids=str)
def test_words(rule):
    """Docstrings, comments, messages and pages do without the word."""
    check(rule, "prose")


@pytest.mark.parametrize("rule", FIRST_LINES, ids=str)
def test_first_lines_of_docstrings(rule):
    """A docstring begins with an imperative or a noun, in an engineer's words."""
    check(rule, "docstrings")


@pytest.mark.parametrize("rule", NAMES, ids=str)
def test_names(rule):
    """Identifiers are words of the field."""
    check(rule, "names")


@pytest.mark.parametrize("rule", PROSE + FIRST_LINES + NAMES, ids=str)
def test_each_rule_finds_its_example(rule):
    """Each rule finds its example, and not the words that it recommends."""
    assert list(rule.matches(rule.example))
    assert not list(rule.matches(rule.instead))


def test_what_is_allowed_occurs():
    """An exception that is no longer needed is removed from the list."""
    rules = [(PROSE, "prose"), (FIRST_LINES, "docstrings"), (NAMES, "names")]
    paths = {path for path, _ in ALLOWED}
    places = [place for some, kind in rules for rule in some for place in found(rule, kind, paths)]
    assert set(ALLOWED) <= {(place.path, place.text) for place in places}
