"""Every code block of the README and of the documentation, run as it is printed.

- Python with a ``def test_`` is a test file: pytest runs it, with our plugin.
- Other Python runs in a fresh interpreter, where a warning is an error. The servers that it names
  are stood in for by ``tests/servers/examples.py``.
- ``<!-- continues -->`` on the line before a block runs the Python before it first.
- YAML with a key ``oauth2`` is a configuration. Secrets below ``/run/secrets/`` are there.
- Each line of a shell block that begins with ``tokenkeeper`` is a command that exists.
- Other YAML can be read. A language that is not named here needs a rule of its own.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml

from tokenkeeper import TokenKeeper
from tokenkeeper.cli.group import cli

ROOT = Path(__file__).parent.parent.parent
TESTS = ROOT / "tests"
GENERATED = {"benchmarks.md", "soak.md"}
BLOCK = re.compile(r"^(<!-- continues -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Block:
    """A block of code, with what has to run before it."""

    page: Path
    line: int
    language: str
    code: str
    before: str = ""

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks():
    """Yield every block of every page."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        if page.name in GENERATED:
            continue
        text, before = page.read_text(encoding="utf-8"), ""
        for match in BLOCK.finditer(text):
            continues, language, code = match.groups()
            line = text.count("\n", 0, match.start(3))
            block = Block(page, line, language, code, before if continues else "")
            if language == "python":
                before = block.before + code
            yield block


BLOCKS = list(blocks())


def written_in(*languages):
    """Parametrize a test with the blocks of these languages."""
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.language in languages], ids=str)


def test_there_are_blocks():
    """The README and the pages have examples, and each language among them is looked at."""
    assert len(BLOCKS) > 20
    assert {block.language for block in BLOCKS} <= {"python", "sh", "text", "yaml"}


@written_in("python")
def test_python(block, tmp_path):
    """An example runs as it is printed."""
    code, options = block.before + block.code, ["-W", "error"]
    if "def test_" in code:
        (tmp_path / "test_example.py").write_text(code)
        command = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "tokenkeeper.testing.plugin",
            "-p",
            "no:cacheprovider",
        ]
    else:
        # gevent's examples must be the first to import anything.
        stands_in = "" if "gevent" in code else "import servers.examples\n"
        command = ["-c", stands_in + code]
    done = subprocess.run(
        [sys.executable, *options, *command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def environment():
    """Return the environment of examples, with the variables that they name."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "OAUTH2_"))}
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return {**kept, "PYTHONPATH": path}


@written_in("yaml")
def test_yaml(block, tmp_path, monkeypatch):
    """A configuration is one that can be read; so is all other YAML."""
    contents = list(yaml.safe_load_all(block.code))
    if "oauth2" not in contents[0]:
        return
    text = block.code
    for secret in re.findall(r"/run/secrets/([\w/.-]+)", text):
        file = tmp_path / secret.replace("/", "-")
        file.write_text("mounted")
        file.chmod(0o600)
        text = text.replace(f"/run/secrets/{secret}", str(file))
    for bundle in re.findall(r"verify: ([\w-]+\.pem)", text):
        (tmp_path / bundle).touch()
    for variable in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(variable, "from-the-environment")
    page = tmp_path / "tokens.yaml"
    page.write_text(text)
    with TokenKeeper.from_config(page) as keeper:
        assert keeper.list_providers()


COMMANDS = {
    f"{block}: {line}": line
    for block in BLOCKS
    if block.language == "sh"
    for line in block.code.splitlines()
    if line.startswith("tokenkeeper ")
}


@pytest.mark.parametrize("line", COMMANDS.values(), ids=COMMANDS.keys())
def test_commands(line):
    """A command of the command line exists, with its options."""
    words = shlex.split(line, comments=True)[1:]
    command, arguments = cli, [word for word in words if word not in ("|", "&&")]
    while isinstance(command, click.Group):
        parser = command.make_parser(click.Context(command))
        _, arguments, _ = parser.parse_args(arguments)
        if not arguments:  # an option of the whole, such as --version
            return
        command = command.commands[arguments.pop(0)]
    command.make_parser(click.Context(command)).parse_args(arguments)
