"""Views that call the billing API: a blocking one, an async one and a probe."""

import httpx
import requests
from django.conf import settings
from django.http import JsonResponse

from tokenkeeper import OAuth2Error, get_default_keeper
from tokenkeeper.integrations.httpx import KeeperAuth


def invoice(request, number):
    auth = get_default_keeper().auth("billing", timeout=10)
    answer = requests.get(f"{settings.BILLING_API}/invoices/{number}", auth=auth, timeout=10)
    return JsonResponse(answer.json(), status=answer.status_code)


async def statement(request, year):
    auth = KeeperAuth(get_default_keeper(), "billing", timeout=10)
    async with httpx.AsyncClient(base_url=settings.BILLING_API, auth=auth) as billing:
        answer = await billing.get(f"/statements/{year}")
    return JsonResponse(answer.json(), status=answer.status_code)


def ready(request):
    keeper = get_default_keeper()
    try:
        keeper.get_token("billing", timeout=1)
        status = 200
    except OAuth2Error:
        status = 503
    return JsonResponse({"status": keeper.health()["status"]}, status=status)
