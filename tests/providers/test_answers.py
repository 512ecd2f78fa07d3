"""Token responses, from the wire to a keeper's caller."""

import logging
import time

import pytest
from kit.servers.base import Answer
from kit.servers.recording import GRANT, Recording

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenAcquisitionError, TokenKeeper
from tokenkeeper.testing import SteppedClock


class InTurn(Recording):
    """Gives its responses one after the other, and then repeats the last one."""

    answers = (GRANT,)

    def answer(self, request):
        return Answer(200, self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


@pytest.fixture
def server():
    with InTurn() as server:
        yield server


@pytest.fixture
def clock():
    return SteppedClock(auto_step="retries")


@pytest.fixture
def make_keeper(server, clock):
    """Return a factory for keepers with a provider of *server*, by options."""
    keepers = []

    def make(**options):
        keeper = TokenKeeper(clock=clock, background=False)
        keepers.append(keeper)
        config = OAuth2Config("crm", "me", "hunter2", server.token_url)
        keeper.add_provider(GenericOAuth2Provider(config, clock=clock, **options))
        return keeper

    yield make
    for keeper in keepers:
        keeper.close()


def test_a_vendor_s_answer(server, make_keeper):
    """A vendor's unusual token reaches its caller with all its members."""
    server.answers = [
        {
            "access_token": "00D50000000IZ3Z!AQ0AQ|x",
            "token_type": "BearerToken",
            "error": None,
            "scope": {"odd": True},
            "instance_url": "https://eu1.example",
            "refresh_in": 1800,
        }
    ]
    keeper = make_keeper()
    assert keeper.get_token("crm") == "00D50000000IZ3Z!AQ0AQ|x"
    token = keeper.get_oauth2_token("crm")
    assert token.token_type == "Bearer"
    assert token.extra["instance_url"] == "https://eu1.example"
    assert (token.expires_at - token.refresh_at).total_seconds() == 1800
    assert keeper.get_cached_token_info("crm")["token_type"] == "Bearer"


def test_a_clock_that_is_years_ahead(server, make_keeper, clock):
    """A timestamp is compared with the server's clock; ours is in the year 2030 here."""
    server.answers = [GRANT | {"expires_on": int(time.time()) + 600}]
    keeper = make_keeper()
    keeper.get_token("crm")
    remaining = keeper.get_cached_token_info("crm")["remaining_seconds"]
    assert 598 <= remaining <= 600


def test_a_token_that_is_served_again_to_its_end(server, make_keeper, clock):
    """A server that repeats an expired token causes no outage and few requests."""
    over = GRANT | {"access_token": "old", "expires_in": 0}
    server.answers = [over, over, GRANT | {"access_token": "new"}]
    keeper = make_keeper()
    began = clock.monotonic()
    assert keeper.get_token("crm") == "new"
    assert clock.monotonic() - began <= 2.0
    assert len(server.received) == 3


@pytest.mark.parametrize("value", [0, -1])
def test_a_server_that_means_never(server, make_keeper, value):
    """The error names never_expires, and with it tokens are used for a day."""
    server.answers = [GRANT | {"expires_in": value}]
    with pytest.raises(TokenAcquisitionError, match="never_expires=True") as caught:
        make_keeper().get_token("crm")
    assert caught.value.transient is True
    keeper = make_keeper(never_expires=True)
    keeper.get_token("crm")
    assert keeper.get_cached_token_info("crm")["remaining_seconds"] == 86400


def test_one_warning_for_each_provider(server, make_keeper, caplog):
    """A doubtful lifetime is logged once, however often the token is renewed."""
    server.answers = [GRANT | {"expires_in": 3_600_000}]

    def warnings():
        return [each for each in caplog.records if each.name == "tokenkeeper.oauth"]

    for count in (1, 2):
        keeper = make_keeper()
        for _ in range(3):
            keeper.get_token("crm", force_refresh=True)
        assert [each.levelno for each in warnings()] == [logging.WARNING] * count
        assert "42 days" in warnings()[-1].getMessage()
    make_keeper(lifetime_seconds=3600).get_token("crm")
    assert len(warnings()) == 2
