"""``tokenkeeper config check``: whether a configuration file is valid."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import ExitCode, json_option, report_problems, source_options
from tokenkeeper.cli.source import Source
from tokenkeeper.config.discovery import warn_about
from tokenkeeper.config.problems import as_error
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["check", "config"]


@click.group()
def config() -> None:
    """Check configuration files."""


@config.command()
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@json_option
@source_options
@click.pass_context
def check(ctx: click.Context, file: Path | None, *, as_json: bool) -> None:
    """Check FILE, and the variables and secret files that it uses. Sends no request.

    FILE is by default the one that --config or TOKENKEEPER_CONFIG names. Reports all mistakes at
    once, each with its line and key, and then exits with 2. A warning, such as one about a secret
    in clear, does not change the exit code.
    """
    source = Source(config=file) if file else ctx.ensure_object(Source)
    file = source.discovery().path
    if file is None:
        raise click.UsageError("no file to check. Give FILE or --config, or set TOKENKEEPER_CONFIG")
    if not as_json:
        with report_problems():
            names = _valid_names(source)
        message = f"{file.name} is valid. It describes {', '.join(names) or 'no provider'}."
        click.echo(escaped(message), err=True)
        return
    problems: tuple[str, ...] = ()
    names = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            names = _valid_names(source)
        except InvalidConfigurationError as error:
            problems = error.problems or (str(error),)
    content = {
        "providers": names,
        "problems": problems,
        "warnings": [str(warning.message) for warning in warned],
    }
    click.echo(json.dumps(content))
    ctx.exit(ExitCode.CONFIGURATION if problems else ExitCode.OK)


def _valid_names(source: Source) -> list[str]:
    """Return the names of the providers, if they and the store are valid.

    :raises InvalidConfigurationError: naming everything that is wrong.
    """
    selection = source.select()
    store = source.discovery().find_store()
    problems = [problem for each in selection.problems.values() for problem in each]
    if store is not None:
        warn_about([store])
        problems += store.problems
    if problems:
        raise as_error(problems)
    return [each.provider_name for each in selection.providers]
