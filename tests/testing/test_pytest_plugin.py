"""The pytest plugin, as users' test suites run it."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.slow

USERS_APPLICATION = '''
    """A client of an API: the user's own code."""

    import requests

    from tokenkeeper import get_default_keeper


    def fetch(url):
        """Return what the API says, and renew the token where it is refused."""
        return requests.get(url, auth=get_default_keeper().auth("api"), timeout=30)
'''


@pytest.fixture
def run(tmp_path):
    """Run tests in their own directory; return the number that passed, and the output."""
    (tmp_path / "application.py").write_text(textwrap.dedent(USERS_APPLICATION))

    def run(tests, *options, passes):
        (tmp_path / "test_of_a_user.py").write_text(textwrap.dedent(tests))
        command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider"]
        # Passed by name for a checkout; pytest loads an installed plugin automatically.
        command += ["-p", "tokenkeeper.testing.plugin", "-W", "error", "-q", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"{passes} passed" in done.stdout

    return run


def test_a_token_that_dies_mid_call(run):
    """A user's test of a token that is revoked mid-use takes five lines."""
    run(
        """
        from application import fetch

        def test_it_goes_on(keeper, token_server):
            assert fetch(token_server.api_url).ok
            token_server.revoke_all()
            assert fetch(token_server.api_url).ok
            assert token_server.stats().token_requests == 2
        """,
        passes=1,
    )


def test_moods_of_the_server(run):
    """Lifetimes, latency, outages, rotation and refusals take one line each."""
    run(
        """
        import pytest
        from tokenkeeper import TokenAcquisitionError
        from application import fetch

        def test_lifetime(keeper, token_server):
            token_server.lifetime_seconds = 60
            keeper.get_token("api")
            assert 50 < keeper.get_cached_token_info("api")["remaining_seconds"] <= 60

        def test_latency(keeper, token_server):
            token_server.latency_seconds = 0.01
            assert keeper.get_token("api")

        def test_outage(keeper, token_server, stepped_clock):
            with token_server.outage("503"), pytest.raises(TokenAcquisitionError) as caught:
                keeper.get_token("api")
            assert (caught.value.status_code, caught.value.attempts) == (503, 4)
            stepped_clock.step(60)
            assert keeper.get_token("api")

        def test_rotation(keeper, token_server):
            token_server.refresh_tokens = True
            keeper.get_token("api")
            keeper.get_token("api", force_refresh=True)
            assert token_server.stats().token_requests_by_grant["refresh_token"] == 1

        def test_refusal(keeper, token_server):
            token_server.refuse("invalid_scope")
            with pytest.raises(TokenAcquisitionError) as caught:
                keeper.get_token("api")
            assert caught.value.error == "invalid_scope"
            assert keeper.get_token("api", force_refresh=True)

        def test_refused_client(keeper, token_server):
            token_server.refuse(times=2)
            for _ in range(2):
                with pytest.raises(TokenAcquisitionError) as caught:
                    keeper.get_token("api", force_refresh=True)
                assert (caught.value.error, caught.value.status_code) == ("invalid_client", 401)

        def test_api_refuses(keeper, token_server):
            token_server.refuse_api_calls(2)
            assert fetch(token_server.api_url).status_code == 401
            assert fetch(token_server.api_url).ok
            assert token_server.stats().api_refused == {"refused as told": 2}
        """,
        passes=7,
    )


def test_a_renewal_in_the_background(run):
    """With the stepped clock an hour passes at once, and an event reports the renewal."""
    run(
        """
        from tokenkeeper.events import TokenRenewed

        def test_renewal(keeper, token_server, stepped_clock, token_events):
            first = keeper.get_token("api")
            stepped_clock.step(3400)
            assert keeper.get_token("api") == first  # nobody waits
            renewed = token_events.wait_for(TokenRenewed, "api")
            assert renewed.remaining_seconds == 3600
            assert keeper.get_token("api") != first
        """,
        passes=1,
    )


def test_all_on_one_clock(run):
    """Objects that a test creates use the stepped clock as well, until the test ends."""
    run(
        """
        import pytest
        from tokenkeeper.testing import LoopbackAuthorizationServer, MockProvider, StaticProvider

        made_early = MockProvider("early")

        @pytest.fixture(scope="session")
        def token_server():
            with LoopbackAuthorizationServer() as server:
                yield server

        def remaining(keeper, name):
            keeper.get_token(name, force_refresh=True)
            return keeper.get_cached_token_info(name)["remaining_seconds"]

        @pytest.mark.parametrize("wait", [0, 5000])
        def test_stepped(keeper, token_server, stepped_clock, wait):
            keeper.add_provider(made_early)
            keeper.add_provider(StaticProvider("static", "a token"))
            stepped_clock.step(wait)
            assert {remaining(keeper, name) for name in ("api", "early", "static")} == {3600.0}

        def test_not_stepped(keeper, token_server):
            keeper.add_provider(made_early)
            assert 3500 < remaining(keeper, "api") <= 3600
            assert 3500 < remaining(keeper, "early") <= 3600
        """,
        passes=3,
    )


def test_the_default_keeper(run):
    """The keeper is the application's default during the test, and not afterwards."""
    run(
        """
        from tokenkeeper import get_default_keeper, get_default_manager

        before = get_default_keeper()

        def test_is_the_default(keeper, token_manager):
            assert get_default_keeper() is keeper
            assert get_default_manager().keeper is token_manager.keeper is keeper
            assert keeper.list_providers() == []

        def test_is_restored():
            assert get_default_keeper() is before
        """,
        "-p",
        "no:randomly",
        passes=2,
    )


def test_async_tests(run):
    """Async tests use the same fixtures, under asyncio and trio."""
    run(
        """
        import pytest

        pytestmark = pytest.mark.anyio

        async def test_token(token_manager, token_server):
            assert await token_manager.get_token("api")
            assert token_server.stats().tokens_granted == 1
        """,
        passes=2,
    )


def test_a_suite_s_own_fixtures_count(run):
    """A fixture of the same name replaces the plugin's."""
    run(
        """
        import pytest

        @pytest.fixture
        def keeper():
            return "a keeper of bees"

        def test_keeper(keeper):
            assert keeper == "a keeper of bees"
        """,
        passes=1,
    )


def test_many_at_once(run):
    """Each test has its own server and keeper, and leaves no thread behind."""
    run(
        """
        import threading
        import pytest

        @pytest.fixture(autouse=True)
        def no_thread_stays():
            before = threading.active_count()
            yield
            assert threading.active_count() <= before

        @pytest.mark.parametrize("number", range(20))
        def test_token(number, keeper, token_server):
            keeper.get_token("api")
            assert token_server.stats().tokens_granted == 1
        """,
        passes=20,
    )


def test_loading_it_is_light():
    """Pytest loads the plugin in every test run of a user, so it loads no library."""
    code = "import pytest, sys; before = set(sys.modules); import tokenkeeper.testing.plugin; "
    code += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.startswith("tokenkeeper")}
    assert loaded == {
        "tokenkeeper",
        "tokenkeeper._version",
        "tokenkeeper.testing",
        "tokenkeeper.testing.plugin",
    }
    assert "requests" not in done.stdout.split()
