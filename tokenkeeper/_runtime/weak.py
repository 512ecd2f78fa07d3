"""Callbacks that do not keep their owner alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

__all__ = ["weakly_bound"]

T = TypeVar("T")
P = ParamSpec("P")


def weakly_bound(owner: T, method: Callable[Concatenate[T, P], None]) -> Callable[P, None]:
    """Return *method* bound to *owner*, which it does not keep alive.

    Called after *owner* was collected, it does nothing. A thread that calls it can therefore not
    keep a keeper alive that was dropped.
    """
    reference = weakref.ref(owner)

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        alive = reference()
        if alive is not None:
            method(alive, *args, **kwargs)

    return call
