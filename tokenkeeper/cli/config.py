"""``tokenkeeper config check``: whether a configuration file is right."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import ExitCode, json_option, source_options, words_for_problems
from tokenkeeper.cli.source import Source
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["check", "config"]


@click.group()
def config() -> None:
    """Look at configuration files."""


@config.command()
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@json_option
@source_options
@click.pass_context
def check(ctx: click.Context, file: Path | None, *, as_json: bool) -> None:
    """Check FILE, with the variables and secret files that it names. Asks no server.

    Without FILE it is the one that --config or TOKENKEEPER_CONFIG names. All mistakes are told at
    once, each with its line and key. Exits with 2 if there is one; a warning, such as of a secret
    in clear, is none.
    """
    source = Source(config=file) if file else ctx.ensure_object(Source)
    file = source.discovery().path
    if file is None:
        raise click.UsageError("which file? Give FILE or --config, or set TOKENKEEPER_CONFIG")
    if not as_json:
        with words_for_problems():
            names = [each.provider_name for each in source.select_valid()]
        what = f"{file.name} is right. It describes {', '.join(names) or 'no provider'}."
        click.echo(escaped(what), err=True)
        return
    problems: tuple[str, ...] = ()
    names = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            names = [each.provider_name for each in source.select_valid()]
        except InvalidConfigurationError as error:
            problems = error.problems or (str(error),)
    content = {
        "providers": names,
        "problems": problems,
        "warnings": [str(warning.message) for warning in warned],
    }
    click.echo(json.dumps(content))
    ctx.exit(ExitCode.CONFIGURATION if problems else ExitCode.OK)
