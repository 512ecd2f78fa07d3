"""The resources of a process: memory, threads, file descriptors, objects."""

import gc
import os
import resource
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Resources(NamedTuple):
    """Resources at one moment. ``rss`` is in bytes, or -1 if it is unknown."""

    rss: int
    threads: int
    library_threads: int
    descriptors: int
    objects: int

    @classmethod
    def now(cls):
        names = [thread.name for thread in threading.enumerate()]
        return cls(
            rss=_rss(),
            threads=len(names),
            library_threads=sum(name.startswith("tokenkeeper-") for name in names),
            descriptors=_descriptors(),
            objects=len(gc.get_objects()),
        )


def kinds():
    """Return how many objects there are of each type, to see what grew."""
    return Counter(type(each).__qualname__ for each in gc.get_objects())


def _rss():
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return -1
    return int(pages) * resource.getpagesize()


def _descriptors():
    return len(os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd"))
