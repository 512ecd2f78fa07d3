"""Whether the client libraries are installed that the tests in the folders here need."""

from clients.conftest import MISSING
from kit.programs import unavailable


def test_all_are_installed():
    """All libraries of the extra `clients` are installed; otherwise the tests are left out."""
    if MISSING:
        unavailable(f"not installed: {', '.join(MISSING)}: pip install -e '.[clients]'")
