"""Distinguishes exceptions that a host throws into a thread from those that called code raises.

A host stops its tasks with exceptions: Ctrl-C, Celery's soft time limit, a timeout of gevent, the
``SIGALRM`` of RQ and of many decorators, ``PyThreadState_SetAsyncExc``. They may derive from any
class, also from :class:`Exception` or :class:`TimeoutError`, so the class alone is not enough. They
say nothing about the token, and must reach the caller unchanged. These are recognized:

* anything that is not an :class:`Exception`;
* a class of a known host;
* an exception that passed through a signal handler;
* an exception at a point where no code runs that could raise it. The interpreter itself raises an
  exception that was set for a thread: at the start of a function, at the end of a loop's round, or
  after a call. After a call, it must be an instance without arguments of a class written in Python;
* an exception that gevent or eventlet threw into a waiting greenlet.
"""

from __future__ import annotations

import functools
import opcode
import signal
import sys
from collections.abc import Iterator
from types import CodeType, TracebackType
from typing import Any

__all__ = ["interruption_in", "is_interruption", "remember_interruption"]

_KNOWN = frozenset(
    {
        ("billiard.exceptions", "SoftTimeLimitExceeded"),  # Celery's
        ("rq.timeouts", "BaseTimeoutException"),
        ("stopit.utils", "TimeoutException"),
    }
)

_MARK = "_tokenkeeper_interruption"

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that was not compiled into the interpreter

_NOTHING_ELSE_RAISES = {"RESUME", "JUMP_BACKWARD"}
_CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "PRECALL"}


def is_interruption(error: BaseException | None) -> bool:
    """Return whether the host threw *error* into this thread."""
    if error is None:
        return False
    if not isinstance(error, Exception) or error.__dict__.get(_MARK):
        return True
    if any((each.__module__, each.__qualname__) in _KNOWN for each in type(error).__mro__):
        return True
    frames = list(_tracebacks(error))
    if not frames:
        return False
    handlers = _signal_handlers()
    if any(each.tb_frame.f_code in handlers for each in frames):
        return True
    return _was_set_for_thread(error, frames[-1]) or _was_thrown_by_hub(error, frames[-1])


def remember_interruption(error: BaseException) -> None:
    """Mark *error* if the host threw it, before its traceback is removed."""
    if isinstance(error, Exception) and is_interruption(error):
        error.__dict__[_MARK] = True


def interruption_in(
    error: BaseException, handled_before: BaseException | None = None
) -> BaseException | None:
    """Return the host's exception in *error* or in the chain of its causes; ``None`` without one.

    A library may have wrapped it, as urllib3 does with a subclass of :class:`OSError`.

    :param handled_before: the exception that was being handled when the call began
        (``sys.exception()``). It and its causes are ignored.
    """
    seen = {id(handled_before)}
    queue = [error]
    while queue:
        each = queue.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if is_interruption(each):
            return each
        near = [getattr(each, "reason", None), *each.args, each.__cause__, each.__context__]
        near += getattr(each, "exceptions", ())  # of a group
        queue += [one for one in near if isinstance(one, BaseException)]
    return None


def _tracebacks(error: BaseException) -> Iterator[TracebackType]:
    traceback = error.__traceback__
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _signal_handlers() -> set[CodeType]:
    """Return the code objects of the current signal handlers."""
    handlers = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, functools.partial):
            handler = handler.func
        handler = getattr(handler, "__func__", handler)  # of a bound method
        if not hasattr(handler, "__code__"):  # a callable object
            handler = getattr(type(handler), "__call__", None)  # noqa: B004 - its code is needed
        code = getattr(handler, "__code__", None)
        if code is not None:
            handlers.add(code)
    return handlers


def _was_set_for_thread(error: Exception, innermost: TracebackType) -> bool:
    code = innermost.tb_frame.f_code.co_code
    if not 0 <= innermost.tb_lasti < len(code):
        return False
    name = opcode.opname[code[innermost.tb_lasti]]
    if name in _NOTHING_ELSE_RAISES:
        return True
    return name in _CALLS and not error.args and _is_written_in_python(type(error))


def _was_thrown_by_hub(error: Exception, innermost: TracebackType) -> bool:
    package = str(innermost.tb_frame.f_globals.get("__name__")).partition(".")[0]
    return package in ("gevent", "eventlet", "greenlet") and _is_written_in_python(type(error))


def _is_written_in_python(kind: type[BaseException]) -> bool:
    if not kind.__flags__ & _HEAP_TYPE:
        return False
    source = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if source is None:  # a built-in module, or an interactive session
        return kind.__module__ not in sys.builtin_module_names
    return str(source).endswith((".py", ".pyc"))
