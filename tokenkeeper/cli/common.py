"""What the commands share: where the providers come from, exit codes, errors in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import click

from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error

__all__ = ["ExitCode", "Source", "json_option", "words_for_errors"]


class ExitCode(IntEnum):
    """What the shell gets to see."""

    OK = 0
    NO_TOKEN = 1
    CONFIGURATION = 2  # click's own code for a wrong call, too
    INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended


@dataclass(frozen=True)
class Source:
    """Where the providers are described; what each command finds in ``ctx.obj``.

    :ivar config: the file; ``None`` for ``TOKENKEEPER_CONFIG`` or the variables of a client.
    """

    config: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file that counts; ``None`` if the variables of a client do."""
        named = os.environ.get("TOKENKEEPER_CONFIG")
        return self.config or (Path(named) if named else None)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, for programs."
)


@contextmanager
def words_for_errors() -> Iterator[None]:
    """Turn our errors into one line on standard error and an exit code."""
    try:
        yield
    except InvalidConfigurationError as problem:
        raise _ConfigurationProblem(str(problem)) from None
    except OAuth2Error as problem:
        raise click.ClickException(str(problem)) from None


class _ConfigurationProblem(click.ClickException):
    exit_code = ExitCode.CONFIGURATION
