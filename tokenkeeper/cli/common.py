"""What the commands share: exit codes, options, errors in one line."""

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
from tokenkeeper.cli.stored_provider import KeptProvider
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError, OAuth2Error

__all__ = [
    "ExitCode",
    "Seconds",
    "complete_names",
    "json_option",
    "late",
    "source_options",
    "tell",
    "timeout_option",
    "words_for_problems",
]

F = TypeVar("F", bound=Callable[..., Any])


class ExitCode(IntEnum):
    """What the shell gets to see."""

    OK = 0
    NO_TOKEN = 1
    CONFIGURATION = 2  # click's own code for a wrong call, too
    INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended


json_option: Callable[[F], F] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, for programs."
)


class Seconds(click.FloatRange):
    """A range of seconds. Not a number lies in any, as far as comparisons go, and is refused."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return *value* as a number."""
        seconds = float(super().convert(value, param, ctx))
        return self.fail(f"{value} is no number.", param, ctx) if math.isnan(seconds) else seconds


timeout_option: Callable[[F], F] = click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a token, retries included.",
)


def _take(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
    """Have *value* count for this context and those below it, which shells complete in as well."""
    if value is not None:
        source = ctx.find_object(Source) or Source()
        ctx.obj = replace(source, **{str(parameter.name): value})


def source_options(command: F) -> F:
    """Let a command take --config and --cache; one after the command counts before another."""
    for option in (
        click.option(
            "--cache",
            type=click.Path(file_okay=False, path_type=Path),
            callback=_take,
            expose_value=False,
            help="Where tokens are kept between two runs; by default TOKENKEEPER_CACHE_DIR, or a "
            "directory in XDG_RUNTIME_DIR, or else nowhere.",
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


def late(provider: KeptProvider, timeout: float) -> str:
    """Note that *provider* has no token in time, and return that in words."""
    words = f"provider {provider.provider_name!r}: no token within {timeout:g} s (--timeout)"
    provider.note_failure(words)
    return words


@contextmanager
def words_for_problems() -> Iterator[None]:
    """Turn our errors and warnings into lines on standard error, and errors into exit codes."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", ConfigurationWarning)
        warnings.showwarning = _show_warning
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


def tell(problem: InvalidConfigurationError) -> None:
    """Write what is wrong to standard error, and go on."""
    _ConfigurationProblem.of(problem).show()


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {escaped(message)}", err=True)


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
            return []  # the command itself will say what is wrong
    # What is not a line of printable characters can't be typed either.
    fitting = [name for name in names if name.startswith(incomplete) and name.isprintable()]
    return [CompletionItem(name) for name in fitting]
