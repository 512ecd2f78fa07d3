"""The hooks for PyInstaller name every module that is imported by a string.

``interop/test_frozen_program.py`` has a program that PyInstaller freezes.
"""

import ast
import importlib.metadata
import pkgutil
import runpy
import subprocess
import sys
import types
from pathlib import Path

import pytest

import tokenkeeper
from tokenkeeper import _pyinstaller

PACKAGE = Path(tokenkeeper.__file__).parent

SEEN = {"cli", "dashboard", "doctor", "integrations", "testing", "_pyinstaller", "__main__.py"}
"""The imports by statements, which PyInstaller sees."""


def collect_submodules(package, filter):  # noqa: A002 - as PyInstaller calls it
    """Do the same as PyInstaller's function of this name."""
    found = sys.modules.get(package) or __import__(package, fromlist=["x"])
    walked = pkgutil.walk_packages(found.__path__, f"{package}.")
    return [name for name in (package, *(each.name for each in walked)) if filter(name)]


@pytest.fixture(autouse=True)
def pyinstaller(monkeypatch):
    """Stand in for PyInstaller, which is not a dependency."""
    hooks = types.ModuleType("PyInstaller.utils.hooks")
    hooks.collect_submodules = collect_submodules
    hooks.collect_data_files = lambda package: [f"the files of {package}"]
    for name in ("PyInstaller", "PyInstaller.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)


def hidden_imports(hook):
    (directory,) = _pyinstaller.get_hook_dirs()
    return set(runpy.run_path(str(Path(directory) / f"hook-{hook}.py"))["hiddenimports"])


def imported_by_strings(path):
    """Return the modules that *path* imports by a string; ``None`` for a computed one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in ("late_import", "import_module", "__import__"):
            argument = node.args[0]
            yield argument.value if isinstance(argument, ast.Constant) else None


def test_every_import_by_a_string():
    """Each module that the package imports late is invisible to PyInstaller, and so named."""
    hidden = hidden_imports("tokenkeeper") | {"ctypes"}  # fork.py has none
    computed = set()
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] in SEEN:
            continue
        for name in imported_by_strings(path):
            if name is None:
                computed.add(path.relative_to(PACKAGE).as_posix())
            else:
                assert name in hidden, f"{path.name} imports {name}"
    # The tables of these modules are checked below.
    assert computed <= {
        "__init__.py",
        "providers/__init__.py",
        "_runtime/fork.py",
        "providers/kinds.py",
        "stores/engines.py",
        "stores/redis.py",
    }


def test_every_public_name():
    """The module of each public name is among them."""
    hidden = hidden_imports("tokenkeeper")
    for package in (tokenkeeper, tokenkeeper.providers):
        for name in package.__all__:
            home = getattr(getattr(package, name), "__module__", package.__name__)
            assert home in hidden | {"builtins"}, name


def test_testing():
    """The modules behind ``tokenkeeper.testing`` are named by their own hook, or by the other."""
    import tokenkeeper.testing

    hidden = hidden_imports("tokenkeeper.testing")
    for name in tokenkeeper.testing.__all__:
        home = getattr(tokenkeeper.testing, name).__module__
        assert home in hidden | hidden_imports("tokenkeeper")
    assert "tokenkeeper.testing.plugin" not in hidden


def test_files_of_the_dashboard():
    """A program with the dashboard has its page as well; another one has neither."""
    (directory,) = _pyinstaller.get_hook_dirs()
    hook = runpy.run_path(str(Path(directory) / "hook-tokenkeeper.dashboard.py"))
    assert hook["datas"] == ["the files of tokenkeeper.dashboard"]
    assert not [each for each in hidden_imports("tokenkeeper") if "dashboard" in each]


def test_no_library_that_nobody_asked_for():
    """Integrations, with their libraries, are included only if a program imports them."""
    for name in hidden_imports("tokenkeeper"):
        assert not name.startswith(("tokenkeeper.integrations", "tokenkeeper.cli"))


def test_pyinstaller_finds_them():
    """The installed package has the entry point that PyInstaller looks for."""
    (found,) = (
        each
        for each in importlib.metadata.entry_points(group="pyinstaller40")
        if each.value.startswith("tokenkeeper.")
    )
    assert found.name == "hook-dirs"
    assert found.load()() == _pyinstaller.get_hook_dirs()


def test_hooks_are_in_the_package():
    """The hooks' files, whose names are not module names, are part of the package."""
    names = {path.name for path in Path(_pyinstaller.get_hook_dirs()[0]).glob("hook-*.py")}
    assert names == {
        "hook-tokenkeeper.py",
        "hook-tokenkeeper.dashboard.py",
        "hook-tokenkeeper.testing.py",
    }
    assert subprocess.run([sys.executable, "-c", "import tokenkeeper._pyinstaller"]).returncode == 0
