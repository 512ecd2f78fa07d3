"""The machine and the versions that the figures were measured with."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import tokenkeeper

LIBRARIES = ("anyio", "cachetools", "msal", "requests", "tenacity", "trio", "urllib3")
PEERS = (
    "Authlib",
    "azure-identity",
    "botocore",
    "databricks-sdk",
    "google-auth",
    "msal",
    "requests_oauth2client",
)


def description():
    """Return lines on Python and the libraries, the machine, and how busy it was."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    libraries = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    system = f"{platform.system()} {platform.release()} ({platform.machine()})"
    return [
        f"{python}; tokenkeeper {tokenkeeper.__version__}, {libraries}",
        f"peers: {', '.join(f'{name} {_version(name)}' for name in PEERS)}",
        f"{_processor()}, {cores} cores; {system}",
        f"load average {_load()} at the end; a load above the number of cores means a busy machine",
    ]


def _load():
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "(absent)"


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "an unknown processor"
