"""What an error tracker records of the frames that an exception passed through."""

import traceback
from pathlib import Path

TESTS = str(Path(__file__).parent.parent)


def recorded_variables(error):
    """Yield the ``repr`` of each local variable in all frames of *error*, and of those behind it.

    The frames of the tests are left out.
    """
    seen, queue = set(), [error]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield repr(each)
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if not frame.f_code.co_filename.startswith(TESTS):
                yield from map(repr, frame.f_locals.values())
        queue += [each.__cause__, each.__context__]
