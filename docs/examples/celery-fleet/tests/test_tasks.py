import pytest

from invoices.tasks import fetch_invoice, token_origin
from tokenkeeper import TokenKeeper, set_default_keeper
from tokenkeeper.testing import MemoryTokenStore


@pytest.fixture
def processes(token_server, monkeypatch):
    """Two keepers that share a store behave as two processes of a fleet."""
    monkeypatch.setenv("BILLING_API", f"{token_server.issuer}/api")
    store = MemoryTokenStore()
    with TokenKeeper(store=store) as one, TokenKeeper(store=store) as other:
        for keeper in (one, other):
            keeper.add_provider(token_server.provider("billing"))
        yield one, other
        set_default_keeper(None)


def test_two_processes_make_one_request(processes, token_server):
    for keeper in processes:
        set_default_keeper(keeper)
        assert fetch_invoice.apply(args=[7]).get() == {"path": "/api/invoices/7"}
    assert token_server.stats().token_requests == 1


def test_a_process_knows_where_its_token_comes_from(processes):
    origins = []
    for keeper in processes:
        set_default_keeper(keeper)
        origins.append(token_origin.apply().get())
    assert [each["generation"] for each in origins] == [1, 1]
    assert origins[0]["granted_to"] is None
    assert str(origins[0]["process"]) in origins[1]["granted_to"]
