"""The example of the page."""


def test_the_example(run_example, postgres):
    """The program connects."""
    assert run_example("asyncpg", DATABASE_URL=postgres.url()) == "connected as app\n"
