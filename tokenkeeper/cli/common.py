"""Exit codes, options and error messages that the commands share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from tokenkeeper._support.escaping import escaped, escaped_lines
from tokenkeeper.cli.source import Source
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError, OAuth2Error

__all__ = [
    "ExitCode",
    "Seconds",
    "complete_names",
    "json_option",
    "report_problem",
    "report_problems",
    "source_options",
    "timeout_option",
]

F = TypeVar("F", bound=Callable[..., Any])


class ExitCode(IntEnum):
    """The exit codes of all commands but the doctor."""

    OK = 0
    NO_TOKEN = 1
    CONFIGURATION = 2  # click's own code for a wrong call, too
    INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended


json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, for programs."
)


class Seconds(click.FloatRange):
    """A range of seconds. NaN is rejected."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return *value* as a number."""
        seconds = float(super().convert(value, param, ctx))
        return (
            self.fail(f"{value} is not a number.", param, ctx) if math.isnan(seconds) else seconds
        )


timeout_option: Callable[[F], F] = click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a token, retries included.",
)


def _take(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
    """Set *value* for this context and those below it, where shells complete words as well."""
    if value is not None:
        source = ctx.find_object(Source) or Source()
        ctx.obj = replace(source, **{str(parameter.name): value})  # type: ignore[arg-type]


def source_options(command: F) -> F:
    """Add --config, --store, --key-file and --cache to a command.

    After the command they override those before it.
    """
    for option in (
        click.option(
            "--cache",
            type=click.Path(file_okay=False, path_type=Path),
            callback=_take,
            expose_value=False,
            help="A directory of your own that stores tokens between runs; by default "
            "TOKENKEEPER_CACHE_DIR.",
        ),
        click.option(
            "--key-file",
            type=click.Path(dir_okay=False, path_type=Path),
            callback=_take,
            expose_value=False,
            help="The file with the keys of --store.",
        ),
        click.option(
            "--store",
            "store_url",
            metavar="URL",
            callback=_take,
            expose_value=False,
            help="The store that has the tokens, instead of a directory; by default "
            "TOKENKEEPER_STORE or the configuration's, or else a directory in XDG_RUNTIME_DIR. Set "
            "the variable for a URL with a password, which other users of this machine could read "
            "here.",
        ),
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            callback=_take,
            expose_value=False,
            help="The YAML file that describes the providers; by default TOKENKEEPER_CONFIG.",
        ),
    ):
        command = option(command)
    return command


@contextmanager
def report_problems() -> Iterator[None]:
    """Report errors and warnings on standard error, and turn errors into exit codes."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ConfigurationWarning)
        warnings.showwarning = _Warnings().show
        try:
            yield
        except InvalidConfigurationError as problem:
            raise _ConfigurationProblem.of(problem) from None
        except OAuth2Error as problem:
            raise click.ClickException(escaped_lines(problem)) from None


class _ConfigurationProblem(click.ClickException):
    exit_code = ExitCode.CONFIGURATION

    @classmethod
    def of(cls, problem: InvalidConfigurationError) -> _ConfigurationProblem:
        return cls("\n  ".join(map(escaped, problem.problems)) or escaped_lines(problem))


def report_problem(problem: InvalidConfigurationError) -> None:
    """Report *problem* on standard error, and continue."""
    _ConfigurationProblem.of(problem).show()


class _Warnings:
    """Shows each warning of a command once: a file may be opened several times."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def show(self, message: Warning | str, *_: Any, **__: Any) -> None:
        """Write *message* to standard error."""
        text = escaped(message)
        if text not in self._shown:
            self._shown.add(text)
            click.echo(f"Warning: {text}", err=True)


def complete_names(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the provider names that begin with what was typed."""
    source = ctx.find_object(Source) or Source()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names = source.select().names
        except OAuth2Error:
            return []  # the command itself will report it
    # A name with other characters can't be typed anyway.
    fitting = [name for name in names if name.startswith(incomplete) and name.isprintable()]
    return [CompletionItem(name) for name in fitting]
