import pytest
from django.test import Client


@pytest.mark.parametrize("path", ["/invoices/7", "/statements/2026"])
def test_a_revoked_token_costs_no_request(billing, path):
    assert Client().get(path).json() == {"path": f"/api{path}"}
    billing.revoke_all()
    assert Client().get(path).status_code == 200


def test_ready(billing):
    assert Client().get("/ready").json() == {"status": "ok"}
    with billing.outage("503"):
        assert Client().get("/ready").status_code == 200


def test_not_ready_without_a_token(billing):
    billing.refuse("invalid_client")
    answer = Client().get("/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "down"})
