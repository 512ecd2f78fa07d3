"""Validates call arguments: a wrong type or value raises a clear error.

Messages show the type of an argument, never its value, as a swapped argument may be a token.
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
    """Return the type of *value* in words; for a class, say that it must be instantiated."""
    if isinstance(value, type):
        return f"the class {value.__name__} (call it to create an instance)"
    return "None" if value is None else type(value).__name__


def check_instance(value: object, kind: type[Any], field: str, hint: str = "") -> None:
    """Raise unless *value* is an instance of *kind*.

    :param hint: what to do instead, as the end of the sentence; by default nothing.
    :raises InvalidConfigurationError: naming *field*.
    """
    if not isinstance(value, kind):
        advice = f": {hint}" if hint else ""
        raise _wrong(field, f"must be a {kind.__name__}, not {type_of(value)}{advice}")


def check_name(value: object, field: str = "provider_name") -> None:
    """Raise unless *value* is a string."""
    if not isinstance(value, str):
        raise _wrong(field, f"must be a string, not {type_of(value)}")


def check_flag(value: object, field: str) -> None:
    """Raise unless *value* is ``True`` or ``False``; a number is probably a misplaced argument."""
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

    :param infinite: whether infinity is allowed; by default it is not.
    :param whole: whether it must be an ``int``; by default a ``float`` is allowed.
    :param unit: the unit for the message, such as " of seconds"; by default none.
    """
    if isinstance(value, timedelta):
        raise _wrong(field, f"must be a number{unit}, not a timedelta. Pass its total_seconds().")
    kinds: tuple[type, ...] = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        what = "a whole number" if whole else "a number"
        raise _wrong(field, f"must be {what}{unit}, not {type_of(value)}")
    try:
        fits = isinstance(value, (int, float)) and not math.isnan(value) and value >= least
    except OverflowError:  # an int that no float can hold
        raise _wrong(field, f"must be a number{unit} of fewer digits") from None
    if not fits:
        raise _wrong(field, f"must be a number{unit}, {least:g} or more")
    if value == math.inf and not infinite:
        raise _wrong(field, f"must be a finite number{unit}, {least:g} or more")


def check_clock(value: object) -> None:
    """Raise unless *value* has the methods of :class:`tokenkeeper.clock.Clock`."""
    methods = ("time", "monotonic", "wait")
    if isinstance(value, type) or not all(callable(getattr(value, m, None)) for m in methods):
        raise _wrong("clock", f"must have time(), monotonic() and wait(), not be {type_of(value)}")


def checked_callable(value: T, field: str, example: str) -> T:
    """Return *value* if it can be called.

    :param example: a valid value, for the message.
    """
    if not callable(value) or isinstance(value, type):
        raise _wrong(field, f"must be callable, such as {example}, not {type_of(value)}")
    return value


def checked_hooks(hooks: object) -> Iterable[Callable[[Any], None]]:
    """Return *hooks* as a tuple; a single hook instead of a list raises."""
    if callable(hooks) or isinstance(hooks, (str, bytes)) or not isinstance(hooks, Iterable):
        raise _wrong("hooks", f"must be a list of hooks, not {type_of(hooks)}")
    return tuple(hooks)


def _wrong(field: str, problem: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"{field} {problem}", field=field)
