"""``tokenkeeper completion``: what a shell needs to complete commands and provider names."""

from __future__ import annotations

import json

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from tokenkeeper.cli.common import json_option

__all__ = ["completion"]

_KINDS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


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
    """  # noqa: D301 - click wants the character
    command = ctx.find_root().command
    script = _KINDS[shell](command, {}, "tokenkeeper", "_TOKENKEEPER_COMPLETE").source()
    click.echo(json.dumps({"shell": shell, "script": script}) if as_json else script)
