"""Imports kafka-python: before Python 3.13 it warns about a function that it uses for that."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "(read_text|open_text) is deprecated", DeprecationWarning)
    import kafka  # noqa: F401
