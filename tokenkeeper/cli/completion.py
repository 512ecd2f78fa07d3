"""``tokenkeeper completion``: what a shell needs to complete commands and provider names."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

__all__ = ["completion"]

_KINDS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


@click.command()
@click.argument("shell", type=click.Choice(list(_KINDS)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(tokenkeeper completion bash)"           in ~/.bashrc
    zsh:   eval "$(tokenkeeper completion zsh)"            in ~/.zshrc
    fish:  tokenkeeper completion fish | source            in ~/.config/fish/config.fish
    """  # noqa: D301 - click wants the character
    script = _KINDS[shell](ctx.find_root().command, {}, "tokenkeeper", "_TOKENKEEPER_COMPLETE")
    click.echo(script.source())
