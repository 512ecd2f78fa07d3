"""Whether this process is a uWSGI master, where no thread may be started."""

from __future__ import annotations

import os
import sys

__all__ = ["is_uwsgi_master"]


def is_uwsgi_master() -> bool:
    """Return whether this process is about to be forked by uWSGI.

    The master loads the application, releases the interpreter's lock, and forks its workers without
    Python's hooks. If another thread takes the lock in that moment, it is held in the worker by a
    thread that does not exist there, and the worker hangs before a line of Python runs. Nothing in
    the worker could repair that, so the master starts no threads at all. It serves no requests
    either; tokens that the application asks for while it is loaded are requested inline.
    """
    uwsgi = sys.modules.get("uwsgi")  # only uWSGI itself provides it
    masterpid = getattr(uwsgi, "masterpid", None)
    return masterpid is not None and masterpid() == os.getpid()
