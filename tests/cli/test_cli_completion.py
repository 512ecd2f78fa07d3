"""Completion in the shells themselves, with the scripts that the command prints for them."""

import os
import shutil
import subprocess
import sys

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
