"""Tasks that call the billing API."""

import os

import requests

from invoices.app import app
from tokenkeeper import get_default_keeper


@app.task
def fetch_invoice(number):
    """Return an invoice."""
    auth = get_default_keeper().auth("billing", timeout=20)
    url = f"{os.environ['BILLING_API']}/invoices/{number}"
    answer = requests.get(url, auth=auth, timeout=30)
    answer.raise_for_status()
    return answer.json()


@app.task
def token_origin():
    """Return the process that runs this task, and what it knows of its token."""
    keeper = get_default_keeper()
    keeper.get_token("billing", timeout=20)
    info = keeper.get_cached_token_info("billing")
    return {
        "process": os.getpid(),
        "generation": info["generation"],
        "granted_to": info["granted_to"],
        "store": keeper.health()["store"]["status"],
    }
