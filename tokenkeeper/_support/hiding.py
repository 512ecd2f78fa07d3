"""Keeps secrets away from whoever looks at a program's frames: error trackers and debuggers.

An error tracker records the local variables of each frame that an exception passed through, by
their ``repr``. So a secret that has to live in a frame is held in :class:`Hidden`, and an error
that comes from frames with secrets in them leaves those behind (:func:`without_frames`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

from tokenkeeper._runtime.interruptions import remember_interruption

__all__ = [
    "HIDDEN",
    "Hidden",
    "forget_frames",
    "without_arguments",
    "without_arguments_async",
    "without_frames",
]

HIDDEN = "[hidden]"
"""What stands in place of a secret."""

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Hidden(Generic[_T]):
    """Holds a secret, and shows it to those alone that ask for :attr:`text`. Immutable.

    It is no string: a string's text is what trackers record, whatever its ``repr``.
    """

    __slots__ = ("text",)

    text: _T

    def __init__(self, text: _T) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "<hidden>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and bool(self.text == other.text)

    def __hash__(self) -> int:
        return hash(self.text)


def forget_frames(
    error: BaseException, handled_before: BaseException | None = None, *, causes: bool = True
) -> None:
    """Take the traceback off *error* and off the errors behind it.

    What the frames say about where an error came from is noted first.

    :param handled_before: what the caller was handling already; it is left as it is.
    :param causes: ``False`` to leave those alone that were named as its cause.
    """
    queue: list[BaseException | None] = [error]
    seen: set[int] = {id(handled_before)}
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        remember_interruption(each)
        each.__traceback__ = None
        if each.__suppress_context__:
            each.__context__ = None  # not shown by Python, but by some trackers
        queue += [each.__context__] if not causes else [each.__cause__, each.__context__]


def without_frames(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Have what *function* raises begin in the caller's frame, and its causes in none.

    For functions whose own frames, or those below, hold secrets. The exception is the same
    object; only the way to it is gone.
    """
    return _forgetting(function, causes=True)


def without_arguments(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Do the same for a function that is called with a secret; causes keep their frames."""
    return _forgetting(function, causes=False)


def _forgetting(function: Callable[_P, _T], *, causes: bool) -> Callable[_P, _T]:
    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        handled_before = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it is raised again, as the same object
            forget_frames(error, handled_before, causes=causes)
            failure = error
        del args, kwargs, handled_before
        try:
            raise failure
        finally:
            del failure  # else the frame and the error would hold each other

    return call


def without_arguments_async(
    function: Callable[_P, Coroutine[Any, Any, _T]],
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Do what :func:`without_arguments` does for an ``async def``."""

    @wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        handled_before = sys.exception()
        try:
            return await function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it is raised again, as the same object
            forget_frames(error, handled_before, causes=False)
            failure = error
        del args, kwargs, handled_before
        try:
            raise failure
        finally:
            del failure

    return call
