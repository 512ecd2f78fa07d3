"""The version, where the build and the running package both find it."""

__version__ = "0.1.0"
