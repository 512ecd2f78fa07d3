from invoices.tasks import fetch_invoice, token_health
from tokenkeeper import TokenAcquisitionError


def test_an_invoice(billing):
    assert fetch_invoice.apply(args=[7]).get() == {"path": "/api/invoices/7"}


def test_a_revoked_token_costs_no_task(billing):
    fetch_invoice.apply(args=[7]).get()
    billing.revoke_all()
    assert fetch_invoice.apply(args=[8]).get() == {"path": "/api/invoices/8"}


def test_an_outage_goes_unnoticed_while_a_token_is_valid(billing):
    fetch_invoice.apply(args=[7]).get()
    with billing.outage("503"):
        assert fetch_invoice.apply(args=[8]).successful()


def test_a_wrong_secret_is_not_retried(billing):
    billing.refuse("invalid_client")
    result = fetch_invoice.apply(args=[7])
    assert isinstance(result.result, TokenAcquisitionError)
    assert billing.stats().token_requests == 1


def test_health(billing):
    assert token_health.apply().get()["status"] == "ok"
