"""Tasks that call HubSpot for a customer."""

import requests
from celery import shared_task
from django.conf import settings

from tokenkeeper import get_default_keeper


@shared_task
def fetch_contacts(customer):
    """Return the customer's contacts."""
    hubspot = get_default_keeper().source("hubspot", account=customer)
    url = f"{settings.HUBSPOT_API}/crm/v3/objects/contacts"
    answer = requests.get(url, auth=hubspot.auth(), timeout=30)
    answer.raise_for_status()
    return answer.json()
