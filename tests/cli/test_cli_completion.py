"""Completion in real shells, with the scripts that the command prints for them."""

import json
import os
import pty
import select
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

CASES = pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (("sta",), ["status"]),
        (("disc",), ["discover"]),
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
    """Return a function that runs a script in a shell and returns its output."""
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
    """Bash completes commands, options and provider names."""
    # -c takes what follows the script as $0, $1, ...
    assert shell("bash", "--norc", "-c", BASH, "bash", *typed).split() == completed


@CASES
def test_fish(shell, typed, completed):
    """Fish completes them and shows their descriptions."""
    output = shell("fish", "--no-config", "-c", FISH, *typed)
    assert [line.split("\t")[0] for line in output.splitlines()] == completed


@CASES
def test_zsh(shell, typed, completed):
    """Zsh completes them."""
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
def unusual_names(config, tmp_path):
    """Describe providers whose names contain shell syntax; return the names."""
    names = [name.replace("MARK", str(tmp_path / "mark")) for name in NAMES]
    names += ["p \x1b[31m", "p\nq"]  # names that can't be typed
    config.write_text(
        "oauth2:\n"
        + "".join(
            f"  - {{provider_name: {json.dumps(name)}, provider_type: generic, client_id: a,"
            " client_secret: '${BILLING_SECRET}', token_url: 'https://id.example.com'}\n"
            for name in names
        )
    )
    return names[:-2]


EVALUATED = """
    for each in "${COMPREPLY[@]}"; do
        eval "printf '%s\\n' $each"
    done
"""


def test_bash_quotes(shell, unusual_names, tmp_path):
    """Bash inserts one word for each name, and nothing in it is executed."""
    printed = shell("bash", "--norc", "-c", BASH + EVALUATED, "bash", "get", "p").splitlines()
    assert printed[-len(unusual_names) :] == unusual_names
    assert not (tmp_path / "mark").exists()


# For each shell: its command, and a line that prepares the completion.
INTERACTIVE = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        'set +o histexpand; eval "$(tokenkeeper completion bash)"',
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit; compinit -D -u; eval "$(tokenkeeper completion zsh)"',
    ),
    "fish": (
        ["fish", "--no-config", "-i", "-C", "function fish_prompt; echo -n 'READY> '; end"],
        "tokenkeeper completion fish | source",
    ),
}


@pytest.fixture
def interactive(shell, config, unusual_names, tmp_path):
    """Return a function that types into a shell, for each of the names, the only one then.

    It waits until *completed* is on the screen, and returns the names that `get` received.
    """
    record, command = tmp_path / "record", tmp_path / "bin" / "tokenkeeper"
    command.write_text(
        "#!/bin/sh\n"
        f'[ -n "$_TOKENKEEPER_COMPLETE" ] || [ "$1" != get ] || exec printf %s "$2" > "{record}"\n'
        f'exec "{sys.executable}" -m tokenkeeper "$@"\n'
    )
    heading, *blocks = config.read_text().splitlines(keepends=True)

    def interactive(names, typed, completed=b"", kind="bash"):
        start, prepare = INTERACTIVE[kind]
        if not shutil.which(kind):
            pytest.skip(f"there is no {kind}")
        received = []
        pid, end = pty.fork()
        if pid == 0:
            os.environ["PS1"] = "READY> "
            os.execvp(kind, start)
        try:
            _until(end, b"READY> ")
            _run(end, prepare)
            for name in names:
                block = next(each for each in blocks if json.dumps(name) in each)
                config.write_text(heading + block)
                os.write(end, typed.encode() + b"\t")
                _until(end, completed)
                _run(end, typed[16:17] if typed[16:17] in "'\"" else "")
                received.append(record.read_text())
                record.unlink()
            return received
        finally:
            os.close(end)
            os.waitpid(pid, 0)

    return interactive


@pytest.mark.parametrize("number", [1, 2, 3, 8, 14])
def test_bash_on_a_terminal(interactive, unusual_names, tmp_path, number):
    """A name that was completed with Tab arrives unchanged, and nothing in it is executed."""
    name = unusual_names[number]
    assert interactive([name], "tokenkeeper get p", b"' ") == [name]
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("kind", ["zsh", "fish"])
def test_others_on_a_terminal(interactive, unusual_names, tmp_path, kind):
    """Zsh and fish quote what they insert: each name arrives unchanged, and nothing is executed."""
    names = [unusual_names[number] for number in (1, 2, 8, 12, 13)]
    assert interactive(names, "tokenkeeper get p", kind=kind) == names
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("quotation", ["'", '"'])
def test_bash_in_a_quotation(interactive, unusual_names, tmp_path, quotation):
    """Inside an open quotation, a name that would end it is not offered."""
    name = unusual_names[1]
    assert interactive([name], f"tokenkeeper get {quotation}p", b"\x07") == ["p"]
    assert not (tmp_path / "mark").exists()


def _run(end, typed):
    """Finish a command on a terminal, and wait until it has ended."""
    os.write(end, typed.encode() + b'; echo DO""NE\n')
    _until(end, b"DONE")


def _until(end, wanted):
    """Read the output of a terminal until it contains *wanted*."""
    seen = b""
    while True:
        ready, _, _ = select.select([end], [], [], 60 if wanted else 0.2)
        assert ready or not wanted, seen
        if ready:
            seen += os.read(end, 65536)
        if wanted in seen:
            return
