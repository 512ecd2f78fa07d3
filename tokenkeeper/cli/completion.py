"""``tokenkeeper completion``: scripts that complete commands and provider names in a shell.

Click's scripts for bash and fish insert completions unquoted, so the shell would run a ``$(...)``
in a provider's name. These scripts quote them.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from tokenkeeper.cli.common import json_option

__all__ = ["completion"]

_BASH = r"""
%(complete_func)s() {
    local response type value
    response=$(
        env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %(complete_var)s=bash_complete $1
    )
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                # Inside an open quotation, quotation marks would end it.
                case ${COMP_WORDS[COMP_CWORD]} in
                    [\"\']*) [[ $value == \'* ]] && continue ;;
                esac
                COMPREPLY+=("$value") ;;
        esac
    done <<< "$response"
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_FISH = r"""
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
        COMP_CWORD=(commandline -t) %(prog_name)s)
    for completion in $response
        set -l metadata (string split -m 1 -- , $completion)
        switch $metadata[1]
            case dir
                __fish_complete_directories $metadata[2]
            case file
                __fish_complete_path $metadata[2]
            case plain
                printf '%%s\n' $metadata[2]
        end
    end
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Bash(BashComplete):
    """Quotes each word, because bash inserts it unchanged."""

    source_template = _BASH

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return a line that the script reads."""
        value = shlex.quote(item.value) if item.type == "plain" else item.value
        return f"{item.type},{value}"


class _Fish(FishComplete):
    """Keeps commas in a word. Fish quotes what it inserts."""

    source_template = _FISH


# Zsh quotes what it inserts as well, and click's script reads one word per line.
_KINDS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": _Fish}

for _kind in (_Bash, _Fish):
    add_completion_class(_kind)


@click.command()
@click.argument("shell", type=click.Choice(list(_KINDS)))
@json_option
@click.pass_context
def completion(ctx: click.Context, shell: str, *, as_json: bool) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(tokenkeeper completion bash)"           in ~/.bashrc
    zsh:   eval "$(tokenkeeper completion zsh)"            in ~/.zshrc
    fish:  tokenkeeper completion fish | source            in ~/.config/fish/config.fish
    """  # noqa: D301 - click needs the character
    command = ctx.find_root().command
    script = _KINDS[shell](command, {}, "tokenkeeper", "_TOKENKEEPER_COMPLETE").source()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)
