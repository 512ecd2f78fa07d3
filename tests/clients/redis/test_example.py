"""The example of the page."""


def test_the_example(run_example, valkey):
    """The program connects."""
    printed = run_example("redis", REDIS_HOST="127.0.0.1", REDIS_PORT=valkey.port)
    assert printed == "connected as app\n"
