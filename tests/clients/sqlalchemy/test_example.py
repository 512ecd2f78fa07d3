"""The example of the page."""

import pytest


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_the_example(run_example, postgres, driver):
    """The program connects."""
    printed = run_example("sqlalchemy", DATABASE_URL=postgres.url(f"postgresql+{driver}"))
    assert printed == "connected as app\n"
