"""Completion in the shells themselves, with the scripts that the command prints for them."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time

import pytest

CASES = pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (("st",), ["status"]),
        (("get", "b"), ["billing"]),
        (("status", ""), ["billing", "wrong"]),
        (("get", "billing", "--fo"), ["--force", "--format"]),
        (("get", "billing", "--format", "h"), ["header"]),
        (("config", ""), ["check"]),
        (("completion", "z"), ["zsh"]),
    ],
    ids=" ".join,
)

BASH = """
    eval "$(tokenkeeper completion bash)"
    set -- tokenkeeper "$@"
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    function=$(complete -p tokenkeeper | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
    "$function" tokenkeeper
    printf '%s\\n' "${COMPREPLY[@]}"
"""

FISH = """
    tokenkeeper completion fish | source
    complete --do-complete "tokenkeeper $argv"
"""

# A zsh completes on a terminal only, so what its completion would call is stood in for.
ZSH = r"""
    compdef() { completing=$1 }
    compadd() { print -l -- ${(P)@[-1]} }
    _describe() { print -l -- ${${(P)3}%%:*} }
    eval "$(tokenkeeper completion zsh)"
    words=(tokenkeeper "$@")
    CURRENT=$#words
    $completing
"""


@pytest.fixture
def shell(environment, tmp_path):
    """Run a script in a shell that knows the command; return what it prints."""
    command = tmp_path / "bin" / "tokenkeeper"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tokenkeeper "$@"\n')
    command.chmod(0o755)
    environment.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    environment.setenv("HOME", str(tmp_path))
    environment.setenv("TERM", "dumb")

    def run(*words):
        if not shutil.which(words[0]):
            pytest.skip(f"there is no {words[0]}")
        done = subprocess.run(words, capture_output=True, text=True, timeout=100)
        assert done.stderr == ""
        return done.stdout

    return run


@CASES
def test_bash(shell, typed, completed):
    """With the script that is printed, bash completes commands, options and provider names."""
    # -c takes what follows the script as $0, $1, ...
    assert shell("bash", "--norc", "-c", BASH, "bash", *typed).split() == completed


@CASES
def test_fish(shell, typed, completed):
    """So does fish, which says what each stands for."""
    told = shell("fish", "--no-config", "-c", FISH, *typed)
    assert [line.split("\t")[0] for line in told.splitlines()] == completed


@CASES
def test_zsh(shell, typed, completed):
    """So does zsh."""
    assert shell("zsh", "-f", "-c", ZSH, "zsh", *typed).split() == completed


NAMES = [
    "plain",
    "p $(touch MARK)",
    "p `touch MARK`",
    "p; touch MARK",
    "p & touch MARK",
    "p | touch MARK",
    "p > MARK",
    "p\\",
    "p 'quoted'",
    'p "quoted"',
    "p $HOME",
    "p *",
    "p, a comma",
    "p !!",
    "p # no comment",
    "p ~",
    "p {a,b}",
]


@pytest.fixture
def strange(config, tmp_path):
    """Describe providers with names that a shell would make something of; return the names."""
    names = [name.replace("MARK", str(tmp_path / "mark")) for name in NAMES]
    names += ["p \x1b[31m", "p\nq"]  # which nobody can type
    config.write_text(
        "oauth2:\n"
        + "".join(
            f"  - {{provider_name: {json.dumps(name)}, provider_type: generic, client_id: a,"
            " client_secret: '${BILLING_SECRET}', token_url: 'https://id.example.com'}\n"
            for name in names
        )
    )
    return names[:-2]


def test_bash_quotes(shell, strange, tmp_path):
    """What bash would put on the command line is one word, and is the name."""
    for name in strange:
        typed = name[:2] if " " in name else name
        script = f"{BASH}\nfor each in \"${{COMPREPLY[@]}}\"; do eval \"printf '%s\\\\n' $each\"; done"
        printed = shell("bash", "--norc", "-c", script, "bash", "get", typed.strip())
        assert name in printed.splitlines()
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("quotation", ["", "'", '"'])
@pytest.mark.parametrize("number", range(1, len(NAMES)))
def test_bash_on_a_terminal(shell, strange, environment, config, tmp_path, number, quotation):
    """A name that was completed with Tab is handed on as it is, and nothing in it is run."""
    name = strange[number]
    content = config.read_text().splitlines(keepends=True)
    config.write_text(content[0] + content[1 + number])
    record = tmp_path / "record"
    command = tmp_path / "bin" / "tokenkeeper"
    command.write_text(
        "#!/bin/sh\n"
        f'[ -n "$_TOKENKEEPER_COMPLETE" ] || printf %s "$2" > "{record}"\n'
        f'exec "{sys.executable}" -m tokenkeeper "$@"\n'
    )
    environment.setenv("PS1", "READY ")
    environment.setenv("HISTFILE", "")
    pid, end = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
    try:
        _type(end, 'eval "$(tokenkeeper completion bash)"; set +o histexpand\n', "READY ")
        _type(end, f"tokenkeeper get {quotation}p\t", "get ")
        time.sleep(0.1)
        _until(lambda: select.select([end], [], [], 1.5)[0] == [], end)
        _type(end, "\n" if not quotation else f"{quotation}\n", "READY ")
    finally:
        os.close(end)
        os.waitpid(pid, 0)
    assert not (tmp_path / "mark").exists()
    if not quotation:
        assert record.read_text() == name


def _type(end, text, until):
    os.write(end, text.encode())
    seen = b""
    ends_at = time.monotonic() + 60
    while until.encode() not in seen.replace(text.strip().encode(), b""):
        assert time.monotonic() < ends_at, seen
        if select.select([end], [], [], 1)[0]:
            seen += os.read(end, 65536)


def _until(quiet, end):
    while not quiet():
        os.read(end, 65536)
