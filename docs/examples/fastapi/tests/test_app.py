import pytest
from fastapi.testclient import TestClient

from invoices.app import create_app


@pytest.fixture
def client(billing):
    with TestClient(create_app()) as client:
        yield client


def test_an_invoice(client):
    assert client.get("/invoices/7").json() == {"path": "/api/invoices/7"}


def test_a_revoked_token_costs_no_request(client, billing):
    assert client.get("/invoices/7").status_code == 200
    billing.revoke_all()
    assert client.get("/invoices/8").status_code == 200


def test_ready(client, billing):
    assert client.get("/ready").json() == {"status": "ok"}
    with billing.outage("503"):
        assert client.get("/ready").status_code == 200


def test_not_ready_without_a_token(client, billing):
    billing.refuse("invalid_client")
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "down"})
    assert client.get("/invoices/7").status_code == 503
