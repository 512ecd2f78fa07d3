"""The parts that a forked child replaces."""

import os
import sys
import threading
import types

import pytest
from kit import internals

from tokenkeeper._runtime import fork

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


class Item:
    """Counts the forks in which it was the child's."""

    forks = 0

    def after_fork_in_child(self):
        self.forks += 1


def test_items_are_renewed_in_the_child_only(exit_code_of):
    """Each registered item is notified in the child, and not in the parent."""
    item = Item()
    fork.renew_after_fork(item)
    assert exit_code_of(lambda: item.forks) == 1
    assert item.forks == 0


def test_items_are_held_weakly():
    """An item without other references is forgotten."""
    before = internals.objects_told_of_forks()
    item = Item()
    fork.renew_after_fork(item)
    assert internals.objects_told_of_forks() == before + 1
    del item
    assert internals.objects_told_of_forks() == before


def test_late_import():
    """A module is imported by its name."""
    assert fork.late_import("json.decoder") is sys.modules["json.decoder"]


def test_a_late_import_that_is_interrupted(tmp_path, monkeypatch):
    """A package whose import was interrupted is complete after the next import of it."""
    package = tmp_path / "interrupted"
    package.mkdir()
    (package / "part.py").write_text("value = 1")
    (package / "__init__.py").write_text(
        "import os\nimport interrupted.part\n"
        "if os.environ.pop('TOKENKEEPER_TEST_INTERRUPT', ''):\n    raise KeyboardInterrupt\n"
        "value = interrupted.part.value"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TOKENKEEPER_TEST_INTERRUPT", "1")
    with pytest.raises(KeyboardInterrupt):
        fork.late_import("interrupted")
    assert fork.late_import("interrupted").value == 1
    for name in ("interrupted", "interrupted.part"):
        del sys.modules[name]


def test_a_fork_waits_for_a_late_import(monkeypatch, exit_code_of):
    """A fork waits for an import in another thread, whose lock would have no owner in the child."""
    importing, go_on, forked = threading.Event(), threading.Event(), threading.Event()

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name != "slow_module":
                return None
            importing.set()
            go_on.wait(10)
            return types.SimpleNamespace(
                name=name,
                loader=self,
                origin=None,
                submodule_search_locations=None,
                has_location=False,
                cached=None,
                parent="",
                _initializing=False,
            )

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            pass

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    importer = threading.Thread(target=fork.late_import, args=("slow_module",))
    importer.start()
    assert importing.wait(10)
    codes = []

    def fork_now():
        codes.append(exit_code_of(lambda: 0 if "slow_module" in sys.modules else 1))
        forked.set()

    forker = threading.Thread(target=fork_now)
    forker.start()
    assert not forked.wait(0.05)
    go_on.set()
    importer.join(10)
    forker.join(30)
    assert codes == [0]
    del sys.modules["slow_module"]
