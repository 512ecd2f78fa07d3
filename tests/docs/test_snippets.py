"""Every block of Python, YAML and TOML in pages and docstrings works as printed.

- A block below a link to a file of ``docs/examples`` or ``docs/cookbook`` is that file, word for
  word. ``test_examples.py`` and ``tests/clients`` run it.
- Python with a ``def test_`` is a test file: pytest runs it with our plugin.
- Other Python runs in a fresh interpreter with warnings as errors, and
  ``tests/kit/servers/examples.py`` replaces the servers that it names.
- Python in a docstring runs with the public names and a keeper.
- YAML with a key ``oauth2`` is a valid configuration. Secrets below ``/run/secrets/`` exist; those
  that end in ``.pem`` are private keys.
- A file that Python names as ``private_key_file`` exists.
- Other YAML and TOML can be parsed. A new language needs a rule here.
- ``test_comparison.py`` runs the programs of the page that compares libraries.
"""

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import yaml
from kit.pages import BLOCK, BLOCKS, DIRECTIVE, EXAMPLES, PAGES, ROOT, Block, line_of
from kit.signing_keys import pem_of, private_key

import tokenkeeper
from tokenkeeper import TokenKeeper
from tokenkeeper.stores.key_file import create_key_file
from tokenkeeper.testing import LoopbackAuthorizationServer
from tokenkeeper.testing.__main__ import PORT

TESTS = ROOT / "tests"


def written_in(language):
    """Parametrize a test with the blocks of a language."""
    return pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == language], ids=str)


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_examples_are_shown_as_they_are(block):
    """A block below a link to an example file has the text of that file."""
    assert block.code == block.file.read_text(encoding="utf-8")


def test_every_block_is_covered():
    """Each block of each page is found, and its language has a rule."""
    assert len(BLOCKS) > 20
    assert len(EXAMPLES) > 20
    assert len(DOCSTRINGS) > 5
    assert {block.language for block in BLOCKS} <= {
        *("csharp", "js"),  # shown for comparison
        *("python", "sh", "text", "toml", "yaml"),
    }
    for page, text in PAGES.items():
        rest = DIRECTIVE.sub("", BLOCK.sub("", text))
        assert not re.search("```|~~~|code-block", rest), page


def run(command, folder):
    """Run Python in an environment for examples, and return its output."""
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
_, _, SYNC, ASYNC, SHOWN = [b for b in BLOCKS if b.place.startswith("README")][:5]


def test_readme(tmp_path, monkeypatch):
    """The first examples of the README print what it shows, with the variables that it names."""
    exports = re.findall(r"(OAUTH2_\w+)=(?:'([^']*)'|(\S+))", PAGES[README])
    with LoopbackAuthorizationServer() as server:
        own_port = server.issuer.rpartition(":")[2]  # other tests may run on this machine
        for name, quoted, plain in exports:
            monkeypatch.setenv(name, (quoted or plain).replace(str(PORT), own_port))
        printed = ""
        for block in (SYNC, ASYNC):
            code = ["-W", "error", "-c", block.code.replace(str(PORT), own_port)]
            done = subprocess.run(
                [sys.executable, *code], cwd=tmp_path, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    token = re.compile(r"(?<=Bearer )[\w-]{32}")
    assert token.sub("", printed) == token.sub("", SHOWN.code)


@written_in("python")
def test_python(block, tmp_path):
    """An example runs as printed."""
    if block in (SYNC, ASYNC):
        return  # test_readme runs them, on a server
    if block.place.startswith("docs/explanation/comparison.md"):
        return  # test_comparison.py runs them, on a server that verifies the client
    if "def test_" in block.code:
        (tmp_path / "test_example.py").write_text(block.code)
        plugins = ["-p", "tokenkeeper.testing.plugin", "-p", "no:cacheprovider"]
        run(["-m", "pytest", "-q", *plugins], tmp_path)
    else:
        for name in re.findall(r'private_key_file="([\w-]+\.pem)"', block.code):
            (tmp_path / name).write_bytes(pem_of(private_key("P-256")))
        # gevent's examples must be the first to import anything.
        servers = "" if "gevent" in block.code else "import kit.servers.examples\n"
        run(["-c", servers + block.code], tmp_path)


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
"""  # in place of three dots in an example


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
    """A configuration can be loaded, and other YAML can be parsed."""
    contents = list(yaml.safe_load_all(block.code))
    if "oauth2" not in contents[0]:
        return
    text = block.code
    for secret in re.findall(r"/run/secrets/([\w/.-]+)", text):
        file = tmp_path / secret.replace("/", "-")
        if secret.endswith(".keys"):
            create_key_file(file)
        else:
            key = pem_of(private_key("P-256"))
            file.write_bytes(key if secret.endswith(".pem") else b"mounted")
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
    """TOML can be parsed, and entry points are in our group."""
    groups = tomllib.loads(block.code).get("project", {}).get("entry-points", {})
    assert set(groups) <= {"tokenkeeper.providers"}
