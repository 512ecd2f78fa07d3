"""Token requests within token requests: a provider asks its keeper for another token.

For example, the subject of a token exchange may be a source of the same keeper. The worker of the
outer request then waits for the inner one. Two things must not happen: that all workers wait for
requests that no worker is left for, so inner requests have threads of their own; and that requests
wait for each other in a circle, so each renewal notes what it waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise

from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper.exceptions import TokenAcquisitionError

__all__ = ["check_not_own", "is_nested", "running_here", "waiting_for"]

running_here: ContextVar[Renewal | None] = ContextVar("tokenkeeper_renewal", default=None)
"""The renewal that called this code; anyio carries it over into coroutines."""


def is_nested() -> bool:
    """Return whether a renewal, of any keeper, called this code through its provider."""
    return running_here.get() is not None


def check_not_own(renewal: Renewal) -> None:
    """Raise if *renewal* itself called the code that asks for its token."""
    if running_here.get() is renewal:
        name = renewal.provider.provider_name
        raise TokenAcquisitionError(
            f"provider {name!r} asked for its own token while requesting it. "
            "Use another provider's token there, or none.",
            provider_name=name,
            transient=False,
        )


@contextmanager
def waiting_for(renewal: Renewal) -> Iterator[None]:
    """Note within the ``with`` block that the renewal that called this code waits for *renewal*.

    :raises TokenAcquisitionError: if *renewal* waits for that one, perhaps through others.
    """
    outer = running_here.get()
    if outer is None:
        yield
        return
    # Noted before the search: of two renewals that begin to wait for each other at the same moment,
    # at least one finds the circle. So this needs no lock, which two keepers would have to share.
    outer.awaits.append(renewal)
    outer.has_awaited = True
    try:
        circle = _path(renewal, outer)
        if circle:
            raise _circular([outer, *circle])
        yield
    finally:
        outer.awaits.remove(renewal)


def _path(start: Renewal, goal: Renewal) -> list[Renewal]:
    """Return the renewals from *start* to *goal*, each waiting for the next; empty if none do."""
    paths, seen = [[start]], {start}
    while paths:
        path = paths.pop()
        if path[-1] is goal:
            return path
        for following in tuple(path[-1].awaits):
            if following not in seen:
                seen.add(following)
                paths.append([*path, following])
    return []


def _circular(circle: list[Renewal]) -> TokenAcquisitionError:
    names = [renewal.provider.provider_name for renewal in circle]
    needs = ", ".join(f"{one!r} needs {other!r}" for one, other in pairwise(names))
    return TokenAcquisitionError(
        f"provider {names[0]!r}: tokens are requested in a circle: {needs}. Let one of them be "
        "requested without the others.",
        provider_name=names[0],
        transient=False,
    )
