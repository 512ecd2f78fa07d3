"""Checks of call arguments: a wrong type or value raises a clear error, and shows no value.

A swapped argument may be a token, so messages name the type of what was passed, never its text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = [
    "check_clock",
    "check_flag",
    "check_instance",
    "check_name",
    "check_number",
    "check_timeout",
    "checked_callable",
    "checked_hooks",
    "type_of",
]

T = TypeVar("T")


def type_of(value: object) -> str:
    """Return the type of *value* in words; a class is called one, as it was meant to be called."""
    if isinstance(value, type):
        return f"the class {value.__name__} (call it to make an instance)"
    return "None" if value is None else type(value).__name__


def check_instance(value: object, kind: type[Any], field: str, hint: str = "") -> None:
    """Raise unless *value* is an instance of *kind*.

    :param hint: what to do instead, as the end of a sentence.
    :raises InvalidConfigurationError: naming *field*.
    """
    if not isinstance(value, kind):
        advice = f": {hint}" if hint else ""
        raise _wrong(field, f"must be a {kind.__name__}, not {type_of(value)}{advice}")


def check_name(value: object, field: str = "provider_name") -> None:
    """Raise unless *value* is a string, which is all that a provider's name can be."""
    if not isinstance(value, str):
        raise _wrong(field, f"must be a string, not {type_of(value)}")


def check_flag(value: object, field: str) -> None:
    """Raise unless *value* is ``True`` or ``False``: a number there is a misplaced argument."""
    if not isinstance(value, bool):
        raise _wrong(field, f"must be True or False, not {type_of(value)}")


def check_timeout(value: object, field: str = "timeout") -> None:
    """Raise unless *value* is ``None`` or a number of seconds, 0 or more; infinity is allowed."""
    if value is not None:
        check_number(value, field, least=0, infinite=True, unit=" of seconds")


def check_number(
    value: object,
    field: str,
    *,
    least: float,
    infinite: bool = False,
    whole: bool = False,
    unit: str = "",
) -> None:
    """Raise unless *value* is a number, *least* or more.

    :param infinite: whether infinity is allowed.
    :param whole: whether it must be an ``int``.
    :param unit: what is counted, for the message.
    """
    if isinstance(value, timedelta):
        raise _wrong(field, f"must be a number{unit}, not a timedelta: pass total_seconds()")
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        what = "a whole number" if whole else "a number"
        raise _wrong(field, f"must be {what}{unit}, not {type_of(value)}")
    if not isinstance(value, (int, float)) or math.isnan(value) or value < least:
        raise _wrong(field, f"must be a number{unit}, {least:g} or more")
    if value == math.inf and not infinite:
        raise _wrong(field, f"must be a finite number{unit}, {least:g} or more")


def check_clock(value: object) -> None:
    """Raise unless *value* has the methods of :class:`tokenkeeper.clock.Clock`."""
    methods = ("time", "monotonic", "wait")
    if isinstance(value, type) or not all(callable(getattr(value, m, None)) for m in methods):
        raise _wrong("clock", f"must have time(), monotonic() and wait(); this is {type_of(value)}")


def checked_callable(value: T, field: str, example: str) -> T:
    """Return *value* if it can be called.

    :param example: what would do, for the message.
    """
    if not callable(value) or isinstance(value, type):
        raise _wrong(field, f"must be callable, such as {example}, not {type_of(value)}")
    return value


def checked_hooks(hooks: object) -> Iterable[Callable[[Any], None]]:
    """Return *hooks* as a tuple; a single hook is a mistake that is easy to make."""
    if callable(hooks) or isinstance(hooks, (str, bytes)) or not isinstance(hooks, Iterable):
        raise _wrong("hooks", f"must be a list of hooks, not {type_of(hooks)}")
    return tuple(hooks)


def _wrong(field: str, problem: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"{field} {problem}", field=field)
