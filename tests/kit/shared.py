"""Servers that take long to start, and that the tests of several folders share."""

from contextlib import ExitStack


def shared(config, key, start):
    """Return what *start* made for the first test that needed it, until pytest ends.

    A fixture of a conftest is for the folders below it. This is for folders next to each other.

    :param config: pytest's configuration.
    :param key: a ``pytest.StashKey`` of its own.
    :param start: returns a context manager.
    """
    if key not in config.stash:
        stack = ExitStack()
        config.stash[key] = stack.enter_context(start())
        config.add_cleanup(stack.close)
    return config.stash[key]
