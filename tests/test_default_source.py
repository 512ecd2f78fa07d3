"""Sources of the process-wide default keeper, made before it."""

import anyio
import pytest
from kit.guards import until_async
from kit.providers import Source

from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    TokenKeeper,
    UnknownProviderError,
    get_default_keeper,
    get_default_source,
    set_default_keeper,
)
from tokenkeeper.integrations.requests import KeeperAuth


@pytest.fixture
def make_default(clock):
    """Return a function that makes a new default keeper with a provider."""
    made = []

    def make():
        keeper = TokenKeeper(clock=clock, background=False)
        keeper.add_provider(provider := Source(clock=clock))
        set_default_keeper(keeper)
        made.append(keeper)
        return keeper, provider

    before = set_default_keeper(None)
    yield make
    set_default_keeper(before)
    for keeper in made:
        keeper.close()


@pytest.mark.usefixtures("make_default")
def test_before_the_keeper():
    """It is made without a keeper, and fails at its first use if there is no such provider."""
    source = get_default_source("api")
    assert source.name == "api"
    with pytest.raises(UnknownProviderError):
        source()


def test_all_methods(make_default):
    """It does what a source of that keeper does."""
    source, seen = get_default_source("api"), []
    keeper, _ = make_default()
    source.subscribe(seen.append)
    assert source() == source.get_token() == source.token().access_token == "api-1"
    assert not source.would_reject("api-1")
    assert source.renew_refused("api-1") == "api-2"
    assert source.headers("GET", "https://api.example") == {"Authorization": "Bearer api-2"}
    assert source.keeper is keeper
    assert source.auth() == KeeperAuth(keeper, "api")
    assert [each.access_token for each in seen] == ["api-1", "api-2"]
    assert "api-2" not in repr(source)


def test_its_file(make_default, tmp_path):
    """It writes its token to a file."""
    make_default()
    get_default_source("api").write_to(tmp_path / "token")
    assert (tmp_path / "token").read_text() == "api-1"


def test_another_keeper(make_default):
    """It follows the default."""
    source = get_default_source("api")
    make_default()
    source.get_token(force_refresh=True)
    assert source.get_token(force_refresh=True) == "api-2"
    make_default()
    assert source() == "api-1"


def test_a_closed_keeper(make_default):
    """After its keeper was closed it says so, until there is another default."""
    source = get_default_source("api")
    keeper, _ = make_default()
    source()
    keeper.close()
    with pytest.raises(KeeperClosedError):
        source()
    get_default_keeper()
    with pytest.raises(UnknownProviderError):
        source()
    make_default()
    assert source() == "api-1"


def test_a_forked_child(make_default, exit_code_of):
    """A child uses the default keeper that it inherited."""
    source = get_default_source("api")
    make_default()
    source()

    def child():
        assert source() == "api-1"
        assert source.get_token(force_refresh=True) == "api-2"
        return 0

    assert exit_code_of(child) == 0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async(make_default, backend):
    """Its async front follows the default as well, and its method can be passed on."""
    aio = get_default_source("api").aio
    get_token = aio.get_token

    async def main():
        assert await get_token() == await aio() == "api-1"
        assert (await aio.token()).access_token == "api-1"
        assert await aio.renew_refused("api-1") == "api-2"
        assert await aio.headers("GET", "https://api.example") == {"Authorization": "Bearer api-2"}
        make_default()
        seen = []
        end = aio.subscribe(seen.append)
        assert await get_token() == "api-1"
        await until_async(lambda: seen)
        end()
        assert aio.name == aio.source.name == "api"

    make_default()
    anyio.run(main, backend=backend)


def test_parameters_are_checked(make_default):
    """A bad value is refused at once; one that the provider does not take, at the first use."""
    with pytest.raises(InvalidConfigurationError, match="scope is empty"):
        get_default_source("api", scope="")
    source = get_default_source("api", scope="read")
    make_default()
    with pytest.raises(InvalidConfigurationError, match="scope"):
        source()
