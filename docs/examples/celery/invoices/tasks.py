"""Tasks that call the billing API."""

import os
from contextlib import suppress

import requests

from invoices.app import app
from tokenkeeper import OAuth2Error, TokenAcquisitionError, get_default_keeper


@app.task(bind=True, max_retries=5)
def fetch_invoice(self, number):
    """Return an invoice. Retry while the authorization server is down."""
    auth = get_default_keeper().auth("billing", timeout=20)
    url = f"{os.environ['BILLING_API']}/invoices/{number}"
    try:
        answer = requests.get(url, auth=auth, timeout=30)
    except TokenAcquisitionError as error:
        if not error.transient:  # a wrong secret, for example: retrying won't help
            raise
        wait = error.retry_after or 2**self.request.retries
        raise self.retry(exc=error, countdown=wait) from error
    answer.raise_for_status()
    return answer.json()


@app.task
def token_health():
    """Return the state of the tokens in the process that runs this task."""
    keeper = get_default_keeper()
    with suppress(OAuth2Error):  # health() reports it
        keeper.get_token("billing", timeout=5)
    return keeper.health()
