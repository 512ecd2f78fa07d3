"""The id of a boot, from the system or from its clocks."""

import sys

import pytest

from tokenkeeper.stores import boot
from tokenkeeper.testing import SteppedClock


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a boot id")
def test_linux():
    """Linux has an id that stays until it is booted again."""
    found = boot.boot_id(SteppedClock())
    assert found == boot.boot_id(SteppedClock())
    assert not boot.is_derived(found)


def test_other_systems(monkeypatch, tmp_path):
    """Elsewhere the time of the boot is the id, which does not change as time passes."""
    monkeypatch.setattr(boot, "BOOT_ID", tmp_path / "nothing")
    clock = SteppedClock()
    first = boot.boot_id(clock)
    assert boot.is_derived(first)
    clock.step(86400.0)
    assert boot.is_same_boot(first, boot.boot_id(clock))


def test_an_empty_boot_id(monkeypatch, tmp_path):
    """A file without an id is treated as if it were not there."""
    (tmp_path / "empty").touch()
    monkeypatch.setattr(boot, "BOOT_ID", tmp_path / "empty")
    assert boot.is_derived(boot.boot_id(SteppedClock()))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("booted-at:100.0", "booted-at:129.9", True),
        ("booted-at:100.0", "booted-at:130.1", False),
        ("booted-at:100.0", "a", False),
        ("booted-at:x", "booted-at:x", False),
    ],
)
def test_the_same_boot(one, other, same):
    """Derived ids may differ by as much as clocks are adjusted, others not at all."""
    assert boot.is_same_boot(one, other) is same
    assert boot.is_same_boot(other, one) is same
