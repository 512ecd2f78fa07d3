"""Every command in the README and the documentation works as printed.

- Each ``tokenkeeper`` command, in a shell block or in a sentence, exists with its options. So do
  the extras and the tox environments.
- The commands of the migration page run, and so do those of the tutorial that need no server but
  ours.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from importlib.metadata import metadata

import click
import pytest
from kit.pages import BLOCK, BLOCKS, PAGES, ROOT

from tokenkeeper.cli.group import cli
from tokenkeeper.testing.__main__ import PORT, parser

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
    """A command exists, with its options."""
    words = shlex.split(line, comments=True)[1:]
    command, arguments = cli, words
    while isinstance(command, click.Group):
        parser = command.make_parser(click.Context(command))
        _, arguments, _ = parser.parse_args(arguments)
        if not arguments:  # an option of tokenkeeper itself, such as --version
            return
        command = command.commands[arguments.pop(0)]
    command.make_parser(click.Context(command)).parse_args(arguments)


def test_commands_of_the_server():
    """Each command that starts the test server has valid options."""
    calls = re.findall(r"python -m tokenkeeper\.testing([^|&>\n]*)", SHELL + "\n" + SENTENCES)
    assert len(calls) > 3
    for options in calls:
        parser().parse_args(shlex.split(options, comments=True))


VIRTUAL_ENVIRONMENT = """\
mkdir -p venv/bin
echo 'PATH=$PWD/venv/bin:$PATH' > venv/bin/activate
echo 'exec "{python}" -W error "$@"' > venv/bin/python
echo 'exec "{python}" -W error -m tokenkeeper "$@"' > venv/bin/tokenkeeper
chmod +x venv/bin/*
. venv/bin/activate
"""  # in place of the one that the tutorial installs


@pytest.fixture
def terminal(tmp_path):
    """Return a function that runs lines in a shell, up to the first that fails."""
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
    """The commands of the tutorial do what it says, on the server that they start."""
    section = PAGES[ROOT / "docs" / "tutorial.md"].partition("\n## From the shell\n")[2]
    blocks = BLOCK.findall(section.partition("\n## ")[0])
    serve, configuration, try_out, wrong, watch = (code for _, code in blocks)

    # Other tests may run on this machine, so the server gets a port of its own.
    serve = serve.replace("tokenkeeper.testing", "tokenkeeper.testing --port 0")
    server = terminal(VIRTUAL_ENVIRONMENT.format(python=sys.executable) + "exec " + serve)
    assert "Press Ctrl-C to stop" in server.stderr.readline()
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
    _, messages = second.communicate(timeout=60)
    in_order = (
        "billing: ok, with warnings: lifetime",
        "\nprovider  state ",
        "\nbilling   ",
        '\n{"path": "/api/things"}',
        "failed  token request",
        "ended with 17",
        "TokenAcquired provider_name=billing",
        "TokenRenewed provider_name=billing",
    )
    places = [shown.find(each) for each in in_order]
    assert -1 not in places, shown + messages
    assert places == sorted(places), shown
    assert re.search(r"^[\w-]{32}$", shown, re.MULTILINE), shown  # what `get` prints
    assert "tokens.yaml is valid" in messages
    assert "Warning" not in messages
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)
    assert (second.returncode, server.returncode) == (130, 130)


@pytest.mark.skipif(os.name != "posix" or not shutil.which("curl"), reason="needs a shell and curl")
def test_faults_in_a_shell(terminal, tmp_path):
    """The commands that control the test server do what the reference says."""
    section = PAGES[ROOT / "docs" / "reference" / "testing.md"].partition("### Cause faults")[2]
    serve, call, control = (code for language, code in BLOCK.findall(section) if language == "sh")
    serve = serve.replace("tokenkeeper.testing", "tokenkeeper.testing --port 0")
    server = terminal(VIRTUAL_ENVIRONMENT.format(python=sys.executable) + "exec " + serve)
    port = re.search(r":(\d+)\. Tokens", server.stderr.readline())[1]
    while "Control: curl" not in server.stderr.readline():
        pass
    venv = ". venv/bin/activate\n"
    second = terminal(venv + f"{call}\n{control}".replace(f":{PORT}/", f":{port}/"))
    shown, messages = second.communicate(timeout=60)
    assert second.returncode == 0, messages
    answers = [json.JSONDecoder().raw_decode(text)[0] for text in re.split(r"(?<=\})(?=\{)", shown)]
    called, revoked, refused, down, up, refusing, state = answers
    assert called == {"path": "/api/things", "method": "POST", "body": "a body"}
    assert revoked["api_refused"] == {}
    assert refused["error_description"] == "the token is revoked"
    assert (down["down"], up["down"]) == ("503", None)
    assert refusing["api_refused"] == state["api_refused"] == {"revoked": 1}


def test_what_is_installed_and_run():
    """Each extra that a page installs, and each tox environment that it runs, exists."""
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
    """The commands of the migration page rename imports, and list the others."""
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
    renamed = [sys.executable, "-W", "error", "plain.py"]
    assert subprocess.check_output(renamed, cwd=tmp_path, text=True, timeout=60) == "[]\n"
