"""Keeps secrets out of error trackers and debuggers, which record the variables of frames.

An error tracker records the ``repr`` of the local variables of each frame that an exception passed
through. So a secret that must live in a frame is wrapped in :class:`Hidden`, and an error from
frames with secrets drops those frames (:func:`without_frames`).
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
    "without_frames_async",
]

HIDDEN = "[hidden]"
"""Replaces a secret in a text."""

_T = TypeVar("_T")
_P = ParamSpec("_P")


class Hidden(Generic[_T]):
    """Wraps a secret, which is only available as :attr:`text`. Immutable.

    It is not a subclass of ``str``, as trackers record the text of any string, whatever its
    ``repr``.
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
    """Remove the traceback of *error* and of the errors behind it.

    What the frames say about the error's origin is recorded first.

    :param handled_before: an error that the caller was already handling; it is left unchanged.
        By default there is none.
    :param causes: whether to include errors that are a ``__cause__``; by default they are.
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
            each.__context__ = None  # Python does not show it, but some trackers do
        queue += [each.__context__] if not causes else [each.__cause__, each.__context__]


def without_frames(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate *function* so that its exceptions keep no frames below the caller's.

    For functions whose own frames, or those below, hold secrets. The exception is the same object;
    its causes lose all their frames.
    """
    return _forgetting(function, causes=True)


def without_arguments(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Do the same for a function with a secret as an argument; causes keep their frames."""
    return _forgetting(function, causes=False)


def _forgetting(function: Callable[_P, _T], *, causes: bool) -> Callable[_P, _T]:
    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        handled_before = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again below, as the same object
            forget_frames(error, handled_before, causes=causes)
            failure = error
        del args, kwargs, handled_before
        try:
            raise failure
        finally:
            del failure  # or the frame and the error would form a cycle

    return call


def without_frames_async(
    function: Callable[_P, Coroutine[Any, Any, _T]],
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Do the same as :func:`without_frames` for an ``async def``."""
    return _forgetting_async(function, causes=True)


def without_arguments_async(
    function: Callable[_P, Coroutine[Any, Any, _T]],
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    """Do the same as :func:`without_arguments` for an ``async def``."""
    return _forgetting_async(function, causes=False)


def _forgetting_async(
    function: Callable[_P, Coroutine[Any, Any, _T]], *, causes: bool
) -> Callable[_P, Coroutine[Any, Any, _T]]:
    @wraps(function)
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        handled_before = sys.exception()
        try:
            return await function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - raised again below, as the same object
            forget_frames(error, handled_before, causes=causes)
            failure = error
        del args, kwargs, handled_before
        try:
            raise failure
        finally:
            del failure

    return call
