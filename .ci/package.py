"""Checks the distributions in a folder: ``python .ci/package.py DIST``. Run by `tox -e package`.

What they declare, what they contain, that the README's links work on a package index, and that the
README's first Python example runs from the bare wheel, in an environment of its own.
"""

import email
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"

PACKAGED = ("*.py", "py.typed", "dashboard/static/*", "dashboard/templates/*")
"""The files of the package, modules and data."""

CLIENT = {
    "OAUTH2_CLIENT_ID": "loopback-client",
    "OAUTH2_CLIENT_SECRET": "no secret on loopback",
    "OAUTH2_TOKEN_URL": "http://127.0.0.1:6749/token",
}
"""The client of the test server, as the README exports it."""


def main(folder):
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (path,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(path))
        scripts = archive.read(path.replace("METADATA", "entry_points.txt")).decode()
    check_contents(names)
    with tarfile.open(sdist) as archive:
        check_sources(archive.getnames())
    check_metadata(metadata, scripts)
    check_links(metadata.get_payload())
    run_first_example(wheel)
    sys.stdout.write(f"{wheel.name} and {sdist.name} are good\n")


def check(condition, what):
    if not condition:
        sys.exit(f"error: {what}")


def check_contents(names):
    """Look for every module of the package in the wheel, for its data, and for nothing else."""
    package = ROOT / "tokenkeeper"
    files = [path for pattern in PACKAGED for path in package.rglob(pattern) if path.is_file()]
    expected = {f"{path.relative_to(ROOT).as_posix()}" for path in files}
    found = {name for name in names if ".dist-info/" not in name}
    check(found == expected, f"in the wheel or the checkout only: {sorted(found ^ expected)}")
    check(any(name.endswith("/LICENSE") for name in names), "the wheel has no LICENSE")


def check_sources(names):
    """Look for what a packager needs to build the wheel."""
    inside = {name.partition("/")[2] for name in names}
    needed = {"LICENSE", "README.md", "pyproject.toml", "setup.cfg", "tokenkeeper/py.typed"}
    check(needed <= inside, f"not in the sdist: {sorted(needed - inside)}")


def check_metadata(metadata, scripts):
    """Look for what an index shows, and for the commands and plugins that an installer makes."""
    for field in ("Name", "Version", "Summary", "License-Expression", "Keywords"):
        check(metadata[field], f"the metadata have no {field}")
    check(metadata["Requires-Python"] == ">=3.11", "the oldest Python is not 3.11")
    check(metadata["Description-Content-Type"] == "text/markdown", "the README is not Markdown")
    check("Typing :: Typed" in metadata.get_all("Classifier"), "it is not declared as typed")
    check("tokenkeeper = tokenkeeper.__main__:main" in scripts, "the command is missing")
    check("tokenkeeper.testing.plugin" in scripts, "the plugin of pytest is missing")


def check_links(readme):
    """Look for links that an index can't resolve: only absolute ones, and anchors, work there."""
    markdown = re.findall(r"\]\(([^)\s]+)\)", readme)
    html = re.findall(r"(?:href|src|srcset)=\"([^\"]+)\"", readme)
    dead = [to for to in markdown + html if not to.startswith(("https://", "#", "mailto:"))]
    check(not dead, f"links of the README that are dead on an index: {dead}")


def run_first_example(wheel):
    """Install the wheel alone, start the test server, and run the README's first example."""
    (code, *_) = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.M | re.S)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder, PYTHON))
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "OAUTH2_"))}
        server = subprocess.Popen(
            [python, "-m", "tokenkeeper.testing"], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        try:
            server.stdout.readline()  # it listens now
            subprocess.run(
                [python, "-W", "error", "-c", code],
                cwd=folder,
                env={**inherited, **CLIENT},
                check=True,
                timeout=60,
            )
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
