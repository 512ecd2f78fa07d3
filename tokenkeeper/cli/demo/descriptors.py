"""Room for the connections of the demo."""

from __future__ import annotations

import os

import click

from tokenkeeper.cli.demo.report import Plan

__all__ = ["ensure_descriptors"]

_PER_CALLER = 6
"""Both ends of one connection of each side to the API, and of one to the naive token endpoint."""

_OTHERS = 64


def ensure_descriptors(plan: Plan) -> None:
    """Raise the limit of open files of this process to what *plan* needs, if it is lower.

    :raises click.UsageError: if the system does not permit that.
    """
    if os.name != "posix":
        return  # elsewhere sockets are not limited so
    import resource

    needed = (plan.threads + plan.tasks) * _PER_CALLER + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (ValueError, OSError):  # above the hard limit
        raise click.UsageError(
            f"this run needs {needed:,} open files, and the system permits {hard:,}: set "
            "--threads and --tasks to less, or raise the limit (ulimit -n)"
        ) from None
