"""The command line: ``tokenkeeper get`` and ``tokenkeeper demo`` (extra "cli")."""

from __future__ import annotations

import logging
import os

import click

from tokenkeeper._version import __version__
from tokenkeeper.config.environment import provider_from_environment
from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error
from tokenkeeper.keeper import TokenKeeper

__all__ = ["cli"]

INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended

# What the log would say, the commands say in words of their own.
logging.getLogger("tokenkeeper").addHandler(logging.NullHandler())


class _ConfigurationProblem(click.ClickException):
    exit_code = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tokenkeeper")
def cli() -> None:
    """Tokenkeeper owns a service's OAuth2 access tokens and hands out valid ones by name."""


@cli.command()
@click.argument("name")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for a token, retries included.",
)
def get(name: str, timeout: float) -> None:
    """Print a token of the client that the environment describes.

    It is described either by OAUTH2_CLIENT_ID, OAUTH2_CLIENT_SECRET, OAUTH2_TOKEN_URL and, if
    need be, OAUTH2_SCOPE, or by AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and AZURE_TENANT_ID. Where
    both are set, the NAME "azure" or "oauth2" chooses; otherwise NAME is yours to choose.
    """
    try:
        provider = provider_from_environment(name, os.environ)
        with TokenKeeper() as keeper:
            keeper.add_provider(provider)
            token = keeper.get_token(name, timeout=timeout)
    except InvalidConfigurationError as problem:
        raise _ConfigurationProblem(str(problem)) from None
    except OAuth2Error as problem:
        raise click.ClickException(str(problem)) from None
    click.echo(token)


@cli.command()
@click.option("--seconds", type=click.FloatRange(1, 86400), default=15.0, show_default=True)
@click.option("--threads", type=click.IntRange(0, 1000), default=32, show_default=True)
@click.option("--tasks", type=click.IntRange(0, 10000), default=200, show_default=True)
@click.option(
    "--lifetime",
    type=click.FloatRange(1, 3600),
    default=6.0,
    show_default=True,
    help="How many seconds each token lives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, only.")
@click.pass_context
def demo(
    ctx: click.Context, seconds: float, threads: int, tasks: int, lifetime: float, as_json: bool
) -> None:
    """Watch one keeper serve threads and tasks while its server goes down.

    Starts an authorization server and a protected API on loopback, and callers that use the API.
    Exits with 1 if a call was refused or a token was dead.
    """
    # Not at the top: `get` needs neither rich nor a server.
    from tokenkeeper.demo import screen, story

    if not threads + tasks:
        raise click.UsageError("there is nobody to call the API: give --threads or --tasks")
    if seconds < lifetime * story.LEAST_LIVES:
        raise click.UsageError(
            f"--seconds must be at least {lifetime * story.LEAST_LIVES:g}, which is "
            f"{story.LEAST_LIVES:g} times --lifetime, so that a renewal can be seen"
        )
    plan = story.Plan(seconds, threads, tasks, lifetime)
    with screen.onlooker(plan, as_json=as_json) as watch:
        report = story.play(plan, watch)
    screen.conclude(report, as_json=as_json)
    if report.interrupted:
        ctx.exit(INTERRUPTED)
    ctx.exit(1 if report.problems else 0)
