"""Every code block of the README, the documentation and the docstrings works as printed.

- A block below a link to a file of ``docs/examples`` is that file, word for word. The tests in
  ``test_examples.py`` run it.
- Python with a ``def test_`` is a test file: pytest runs it with our plugin.
- Other Python runs in a fresh interpreter with warnings as errors. ``tests/servers/examples.py``
  replaces the servers that it names.
- Python in a docstring runs with the public names and a keeper.
- YAML with a key ``oauth2`` is a valid configuration. Secrets below ``/run/secrets/`` exist.
- Other YAML and TOML can be parsed. A new language needs a rule here.
- Each ``tokenkeeper`` command, in a shell block or in a sentence, exists with its options. So do
  the extras and the tox environments. The commands of the migration page run, and so do those of
  the tutorial that need no server but ours.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path

import click
import pytest
import yaml

import tokenkeeper
from tokenkeeper import TokenKeeper
from tokenkeeper.cli.group import cli
from tokenkeeper.testing import LoopbackAuthorizationServer
from tokenkeeper.testing.__main__ import PORT, parser

ROOT = Path(__file__).parent.parent.parent
TESTS = ROOT / "tests"
GENERATED = {"benchmarks.md", "soak.md"}
PAGES = {
    page: page.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.name not in GENERATED
}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^```\{[\w-]+\}\n.*?^```$", re.MULTILINE | re.DOTALL)


LINK_TO_EXAMPLE = re.compile(r"\]\(\.\./(examples/[\w./-]+)\)[^\n]*\n\n\Z")


@dataclass
class Block:
    """A block of code, its place, and the example file that it shows, if any."""

    place: str
    language: str
    code: str
    file: str | None = None

    def __str__(self):
        return self.place


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def blocks_of(page, text):
    """Yield the blocks of a page."""
    for match in BLOCK.finditer(text):
        link = LINK_TO_EXAMPLE.search(text, max(0, match.start() - 300), match.start())
        place = f"{page.relative_to(ROOT)}:{line_of(text, match.start())}"
        yield Block(place, *match.groups(), file=link and link[1])


ALL_BLOCKS = [block for page, text in PAGES.items() for block in blocks_of(page, text)]
EXAMPLES = [block for block in ALL_BLOCKS if block.file]
BLOCKS = [block for block in ALL_BLOCKS if not block.file]


def written_in(language):
    """Parametrize a test with the blocks of a language."""
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == language], ids=str)


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_examples_are_shown_as_they_are(block):
    """A block below a link to an example file has the text of that file."""
    assert block.code == (ROOT / "docs" / block.file).read_text(encoding="utf-8")


def test_every_block_is_covered():
    """Each block of each page is found, and its language has a rule."""
    assert len(BLOCKS) > 20
    assert len(EXAMPLES) > 20
    assert len(DOCSTRINGS) > 5
    assert {block.language for block in BLOCKS} <= {"python", "sh", "text", "toml", "yaml"}
    for page, text in PAGES.items():
        rest = DIRECTIVE.sub("", BLOCK.sub("", text))
        assert not re.search("```|~~~|code-block", rest), page


def run(command, folder):
    """Run Python with the variables that examples have."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "OAUTH2_"))}
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=folder,
        env={**kept, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


README = ROOT / "README.md"
README_BLOCKS = [block for block in BLOCKS if block.place.startswith("README")]


def test_readme(tmp_path, monkeypatch):
    """The first examples of the README print what it shows, with the variables that it names."""
    sync, front, shown = README_BLOCKS[1:4]
    exports = re.findall(r"(OAUTH2_\w+)=(?:'([^']*)'|(\S+))", PAGES[README])
    with LoopbackAuthorizationServer() as server:
        own_port = server.issuer.rpartition(":")[2]  # other tests may run on this machine
        for name, quoted, plain in exports:
            monkeypatch.setenv(name, (quoted or plain).replace(str(PORT), own_port))
        printed = ""
        for block in (sync, front):
            code = ["-W", "error", "-c", block.code.replace(str(PORT), own_port)]
            done = subprocess.run(
                [sys.executable, *code], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    token = re.compile(r"(?<=Bearer )[\w-]{32}")
    assert token.sub("", printed) == token.sub("", shown.code)


@written_in("python")
def test_python(block, tmp_path):
    """An example runs as it is printed."""
    if block in README_BLOCKS:
        return  # test_readme runs it, on the server that it names
    if "def test_" in block.code:
        (tmp_path / "test_example.py").write_text(block.code)
        plugins = ["-p", "tokenkeeper.testing.plugin", "-p", "no:cacheprovider"]
        run(["-m", "pytest", "-q", *plugins], tmp_path)
    else:
        # gevent's examples must be the first to import anything.
        stands_in = "" if "gevent" in block.code else "import servers.examples\n"
        run(["-c", stands_in + block.code], tmp_path)


PACKAGE = Path(tokenkeeper.__file__).parent
IN_DOCSTRING = re.compile(r"^( *)\.\. code-block:: python\n\n((?:\1    .*\n|\n)+)", re.MULTILINE)
DOCSTRINGS = [
    Block(f"{path.relative_to(PACKAGE)}:{line_of(text, match.start())}", "python", match[2])
    for path in sorted(PACKAGE.rglob("*.py"))
    for text in [path.read_text(encoding="utf-8")]
    for match in IN_DOCSTRING.finditer(text)
]
READER = """
import asyncio
import aiohttp, grpc, grpc.aio
from azure.storage.blob import BlobServiceClient
from tokenkeeper import *
from tokenkeeper.events import *
from tokenkeeper.integrations.aiohttp import *
from tokenkeeper.integrations.azure import *
from tokenkeeper.integrations.azure_transport import *
from tokenkeeper.integrations.grpc import *
from tokenkeeper.integrations.grpc_aio import *
from tokenkeeper.integrations.opentelemetry import *
from tokenkeeper.integrations.prometheus import *
from tokenkeeper.testing import *

def run(example):
    with TokenKeeper() as keeper:
        for name in ("billing", "storage"):
            keeper.add_provider(MockProvider(name))
        asyncio.run(example(keeper))
"""
EXAMPLE = """
@run
async def example(keeper):  # {place}
{code}
"""
WHAT_HAPPENS = """
keeper.add_provider(MockProvider("mine", clock=keeper._clock))
keeper.get_token("mine")
keeper.get_token("mine", force_refresh=True)
"""  # where an example leaves it to its reader


def test_docstrings(tmp_path):
    """The examples in docstrings run, one after the other."""
    program = READER
    for block in DOCSTRINGS:
        code = textwrap.dedent(block.code)
        for gap in re.findall(r"^ *\.\.\.\n", code, re.MULTILINE):
            code = code.replace(gap, textwrap.indent(WHAT_HAPPENS, gap.rstrip("\n.")))
        program += EXAMPLE.format(place=block, code=textwrap.indent(code, "    "))
    run(["-c", program], tmp_path)


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


@written_in("toml")
def test_toml(block):
    """TOML can be read, and names our group of entry points where it names one."""
    groups = tomllib.loads(block.code).get("project", {}).get("entry-points", {})
    assert set(groups) <= {"tokenkeeper.providers"}


SHELL = "\n".join(block.code for block in BLOCKS if block.language in ("sh", "text"))
SENTENCES = "\n".join(
    re.findall(r"`([^`\n]+)`", "\n".join(BLOCK.sub("", t) for t in PAGES.values()))
)
COMMANDS = sorted(
    set(
        re.findall(
            r"(?:^|[$&|] |\$\()(tokenkeeper [^|&)\n]+)", SHELL + "\n" + SENTENCES, re.MULTILINE
        )
    )
)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands(line):
    """A command of the command line exists, with its options."""
    words = shlex.split(line, comments=True)[1:]
    command, arguments = cli, words
    while isinstance(command, click.Group):
        parser = command.make_parser(click.Context(command))
        _, arguments, _ = parser.parse_args(arguments)
        if not arguments:  # an option of the whole, such as --version
            return
        command = command.commands[arguments.pop(0)]
    command.make_parser(click.Context(command)).parse_args(arguments)


def test_commands_of_the_server():
    """Each call of the server for the shell has options that there are."""
    calls = re.findall(r"python -m tokenkeeper\.testing([^|&>\n]*)", SHELL + "\n" + SENTENCES)
    assert len(calls) > 3
    for options in calls:
        parser().parse_args(shlex.split(options, comments=True))


STANDS_IN = """\
mkdir -p venv/bin
echo 'PATH=$PWD/venv/bin:$PATH' > venv/bin/activate
echo 'exec "{python}" -W error "$@"' > venv/bin/python
echo 'exec "{python}" -W error -m tokenkeeper "$@"' > venv/bin/tokenkeeper
chmod +x venv/bin/*
. venv/bin/activate
"""  # for the environment that the tutorial installs


@pytest.fixture
def terminal(tmp_path):
    """Run lines in a shell that ends at the first that fails; return the process."""
    hidden = ("AZURE_", "OAUTH2_", "TOKENKEEPER_", "XDG_RUNTIME_DIR")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    started = []

    def run(lines):
        process = subprocess.Popen(
            ["sh", "-ec", lines],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name != "posix" or not shutil.which("curl"), reason="needs a shell and curl")
def test_the_tutorial_in_a_shell(terminal, tmp_path):
    """The commands of the tutorial do what it says, on the server that it starts."""
    section = PAGES[ROOT / "docs" / "tutorial.md"].partition("\n## From the shell\n")[2]
    blocks = BLOCK.findall(section.partition("\n## ")[0])
    serve, configuration, try_out, wrong, watch = (code for _, code in blocks)

    # Other tests may run on this machine, so the server gets a port of its own.
    serve = serve.replace("tokenkeeper.testing", "tokenkeeper.testing --port 0")
    server = terminal(STANDS_IN.format(python=sys.executable) + "exec " + serve)
    assert "Ctrl-C ends it" in server.stderr.readline()
    written = (tmp_path / "tokens.yaml").read_text()
    port = re.search(r":(\d+)/token", written)[1]
    assert written.replace(f":{port}/", f":{PORT}/") == configuration

    lines = f"{try_out}{wrong.rstrip()} || echo ended with $?\nexec {watch}"
    second = terminal(lines.replace(f":{PORT}/", f":{port}/"))
    shown = ""
    while line := second.stdout.readline():
        shown += line
        if "TokenRenewed" in line:
            break
    second.send_signal(signal.SIGINT)
    _, told = second.communicate(timeout=60)
    in_order = (
        "billing: fit, with warnings: lifetime",
        "\nprovider  state ",
        "\nbilling   ",
        '\n{"path": "/api/things"}',
        "failed  token request",
        "ended with 17",
        "TokenAcquired provider_name=billing",
        "TokenRenewed provider_name=billing",
    )
    places = [shown.find(each) for each in in_order]
    assert -1 not in places, shown + told
    assert places == sorted(places), shown
    assert re.search(r"^[\w-]{32}$", shown, re.MULTILINE), shown  # what `get` prints
    assert "tokens.yaml is right" in told
    assert "Warning" not in told
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)
    assert (second.returncode, server.returncode) == (130, 130)


def test_what_is_installed_and_run():
    """Each extra that a page installs, and each environment of tox that it runs, is there."""
    text = "\n".join(PAGES.values())
    extras = re.findall(r"(?:pip install|tokenkeeper-oauth2)[^\n`]*\[([\w,]+)\]", text)
    asked = {extra for group in extras for extra in group.split(",")}
    assert "yaml" in asked
    assert asked <= set(metadata("tokenkeeper-oauth2").get_all("Provides-Extra"))
    environments = set(re.findall(r"tox -e (\w+)", text))
    assert environments <= set(
        re.findall(r"^\[testenv:(\w+)\]", (ROOT / "tox.ini").read_text(), re.MULTILINE)
    )


OLD_IMPORTS = """
from core.oauth2 import OAuth2TokenManager, get_default_manager
from core.oauth2.exceptions import TokenAcquisitionError
from core.oauth2.providers.base import BaseOAuth2Provider
import core.oauth2.models

assert core.oauth2.models.OAuth2Token
print(get_default_manager().list_providers())
"""


def test_migration(tmp_path):
    """The commands of the migration page rename imports, and show those that they leave."""
    if shutil.which("bash") is None or b"GNU" not in subprocess.check_output(["sed", "--version"]):
        pytest.skip("the commands are for bash and GNU sed")
    (block,) = (b for b in BLOCKS if b.language == "sh" and b.place.startswith("docs/migration"))
    (tmp_path / "plain.py").write_text(OLD_IMPORTS)
    (tmp_path / "odd.py").write_text("from core import oauth2\n")
    (tmp_path / "apart.py").write_text("import score.oauth2, core.oauth25\n")
    lines = [line for line in block.code.splitlines() if not line.startswith("pip ")]
    shown = subprocess.run(
        ["bash", "-ec", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (shown.returncode, shown.stdout) == (0, "./odd.py:1:from core import oauth2\n"), (
        shown.stderr
    )
    assert (tmp_path / "apart.py").read_text() == "import score.oauth2, core.oauth25\n"
    assert run(["plain.py"], tmp_path) == "[]\n"
